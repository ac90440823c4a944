use proptest::prelude::*;

use super::*;

const EPHEMERAL: &str = "#!ipxe
echo Farrier: node-1 boots for commissioning (52:54:00:77:00:01)
imgfree
kernel http://r/blobs/aa initrd=initrd farrier.boot=1 BOOTIF=01-${net0/mac:hexhyp} panic=-1 || goto again
initrd --name initrd http://r/blobs/bb || goto again
boot || goto again
:again
echo Farrier: this did not work, asking again in 10 seconds
imgfree
sleep 10
chain --replace http://r/boot/x.ipxe ||
exit 1
";

const LOCAL_DISK: &str = "#!ipxe
echo Farrier: boots from its local disk
iseq ${platform} pcbios && goto bios ||
exit 1
:bios
sanboot --no-describe --drive 0x80 ||
exit 1
";

fn start(uefi: bool, text: &str) -> (Ipxe, Ask) {
    let platform = if uefi { "efi" } else { "pcbios" };
    let settings = [("platform", platform), ("net0/mac", "52:54:00:77:00:01")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let (mut ipxe, ask) = Ipxe::new(uefi, settings, "http://r/boot/x.ipxe");
    assert_eq!(ask, Ask::Fetch { url: "http://r/boot/x.ipxe".to_owned(), script: true });
    let ask = ipxe.on(Answer::Script(text.to_owned()));
    (ipxe, ask)
}

fn fetch(url: &str, script: bool) -> Ask {
    Ask::Fetch { url: url.to_owned(), script }
}

fn bad() -> Answer {
    Answer::Failed("HTTP 404".to_owned())
}

#[test]
fn the_ephemeral_script_boots() {
    let (mut ipxe, ask) = start(true, EPHEMERAL);
    assert_eq!(ask, fetch("http://r/blobs/aa", false));
    assert_eq!(ipxe.on(Answer::Done), fetch("http://r/blobs/bb", false));
    let Ask::Kernel { cmdline } = ipxe.on(Answer::Done) else { panic!() };
    assert_eq!(cmdline, "initrd=initrd farrier.boot=1 BOOTIF=01-52-54-00-77-00-01 panic=-1");
    assert_eq!(ipxe.echoes().len(), 1);
}

#[test]
fn the_ephemeral_script_asks_again_when_something_is_missing() {
    let (mut ipxe, _) = start(true, EPHEMERAL);
    assert_eq!(ipxe.on(bad()), Ask::Sleep(Duration::from_secs(10)));
    assert_eq!(ipxe.on(Answer::Done), fetch("http://r/boot/x.ipxe", true));
    let Ask::Exit { good, .. } = ipxe.on(bad()) else { panic!() };
    assert!(!good);
    let (mut ipxe, _) = start(false, EPHEMERAL);
    ipxe.on(bad());
    ipxe.on(Answer::Done);
    assert_eq!(ipxe.on(Answer::Script(EPHEMERAL.to_owned())), fetch("http://r/blobs/aa", false));
}

#[test]
fn the_local_disk_script_leaves_uefi_and_starts_the_disk_on_bios() {
    let (_, ask) = start(true, LOCAL_DISK);
    assert_eq!(ask, Ask::Exit { good: false, why: String::new() });
    let (mut ipxe, ask) = start(false, LOCAL_DISK);
    assert_eq!(ask, Ask::Disk);
    assert!(matches!(ipxe.on(bad()), Ask::Exit { good: false, .. }));
}

#[test]
fn the_scripts_of_the_lab_run() {
    let lab = "#!ipxe\nchain http://r/mac-${net0/mac:hexhyp}.ipxe || chain http://r/default.ipxe\n";
    let (mut ipxe, ask) = start(false, lab);
    assert_eq!(ask, fetch("http://r/mac-52-54-00-77-00-01.ipxe", true));
    assert_eq!(ipxe.on(bad()), fetch("http://r/default.ipxe", true));
    let script = "#!ipxe\niseq ${net0/chip} undionly && goto go || chain tftp://r/undionly.kpxe\n:go\n";
    assert_eq!(ipxe.on(Answer::Script(script.to_owned())), fetch("tftp://r/undionly.kpxe", true));
}

#[test]
fn settings_are_put_in_and_what_is_wrong_ends_the_script() {
    let (ipxe, ask) = start(true, "#!ipxe\nset a b c\necho x${a}y ${nothing}# no comment ${a:uristring}\n");
    assert!(matches!(ask, Ask::Exit { good: true, .. }));
    assert_eq!(ipxe.echoes(), ["xb cy # no comment b%20c"]);
    for text in ["#!ipxe\nformat-disk\n", "#!ipxe\nboot\n", "#!ipxe\ngoto x\n", "hello"] {
        let (_, ask) = start(true, text);
        assert!(matches!(ask, Ask::Exit { good: false, .. }), "{text}: {ask:?}");
    }
}

#[test]
fn an_efi_kernel_needs_the_name_of_its_initrd() {
    let text = "#!ipxe\nkernel http://r/k quiet\ninitrd --name initrd http://r/i\nboot\n";
    for uefi in [true, false] {
        let (mut ipxe, _) = start(uefi, text);
        ipxe.on(Answer::Done);
        assert_eq!(matches!(ipxe.on(Answer::Done), Ask::Kernel { .. }), !uefi);
    }
}

#[test]
fn a_script_that_runs_in_circles_is_ended() {
    let (_, ask) = start(true, "#!ipxe\n:a\ngoto a\n");
    assert!(matches!(ask, Ask::Exit { good: false, .. }));
    let (mut ipxe, mut ask) = start(true, "#!ipxe\nchain x\n");
    for _ in 0..DEEPEST {
        assert_eq!(ask, fetch("x", true));
        ask = ipxe.on(Answer::Script("#!ipxe\nchain x\n".to_owned()));
    }
    assert!(matches!(ask, Ask::Exit { good: false, .. }));
}

proptest! {
    #[test]
    fn any_script_is_borne(text in "(?s).{0,400}", answers: Vec<bool>) {
        let (mut ipxe, mut ask) = start(true, &format!("#!ipxe\n{text}"));
        for good in answers {
            if matches!(ask, Ask::Exit { .. } | Ask::Kernel { .. }) {
                break;
            }
            ask = ipxe.on(if good { Answer::Done } else { bad() });
        }
    }
}
