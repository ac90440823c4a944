//! The owner of one machine, run by `farrier-labctl serve`: power supply, reset line and BMC.
//!
//! One thread owns everything; requests come to it through a channel, so they are answered in order and at once.
//! A guest's reset starts the machine again with the boot order that holds then; a boot device that was set counts once.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use farrier_common::{
    clock::Clock,
    hardware::{BootDevice, Firmware},
};
use serde::{Deserialize, Serialize};

use super::{
    MachineSpec,
    control::{self, Request},
    qemu::{self, Stopped},
};
use crate::{
    daemon::append,
    error::{LabError, Result},
};

/// How often the emulator and the BMC are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long after its end the BMC is started again.
const BMC_PAUSE: Duration = Duration::from_millis(300);

/// Everything that the owner of a machine needs to know; `spec.json` in the machine's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChassisSpec {
    /// The machine.
    pub machine: MachineSpec,
    /// Its folder: disks, logs, sockets; the BMC's configuration is in `bmc/`.
    pub dir: PathBuf,
    /// Its tap, in the namespace in which the owner runs.
    pub tap: String,
    /// Command line of the BMC's program, to be run in `bmc/`.
    pub bmc: Vec<String>,
    /// Where the BMC is.
    pub bmc_address: String,
}

/// A request and where its answer goes.
type Question = (Request, Sender<std::result::Result<String, String>>);

struct Running {
    emulator: Child,
    monitor: Option<UnixStream>,
    last_words: JoinHandle<Stopped>,
}

struct Chassis {
    spec: ChassisSpec,
    running: Option<Running>,
    /// A boot device for the next start only.
    once: Option<BootDevice>,
    bmc: Option<Child>,
    bmc_ended: Option<Instant>,
}

/// Owns a machine until the process ends.
///
/// # Errors
/// The specification cannot be read, or the control socket cannot be made.
pub fn serve(spec: &Path) -> Result<()> {
    let failed = |what: &str| LabError::io(format!("cannot {what} {}", spec.display()));
    let text = fs::read_to_string(spec).map_err(failed("read"))?;
    let spec: ChassisSpec =
        serde_json::from_str(&text).map_err(|e| LabError::answer(spec.display().to_string(), e.to_string()))?;
    let path = control::socket(&spec.dir);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(LabError::io(format!("cannot listen on {}", path.display())))?;
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || listen(&listener, &sender));
    let mut chassis = Chassis { spec, running: None, once: None, bmc: None, bmc_ended: None };
    chassis.run(&requests);
    Ok(())
}

/// Takes requests, each in a thread of its own, so that one that hangs holds up nobody.
fn listen(listener: &UnixListener, sender: &Sender<Question>) {
    for stream in listener.incoming().flatten() {
        let sender = sender.clone();
        thread::spawn(move || answer(stream, &sender));
    }
}

fn answer(mut stream: UnixStream, sender: &Sender<Question>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    if (&stream).take(4096).read_to_string(&mut line).is_err() {
        return;
    }
    let answered = control::parse(&line).and_then(|requests| {
        let mut answers = String::new();
        for request in requests {
            let (to, from) = mpsc::channel();
            sender.send((request, to)).map_err(|_| "the machine is gone".to_owned())?;
            answers.push_str(&from.recv().map_err(|_| "the machine is gone".to_owned())??);
        }
        Ok(answers)
    });
    // The one who asked may have left.
    let _ = stream.write_all(answered.unwrap_or_else(|refusal| format!("error: {refusal}")).as_bytes());
}

impl Chassis {
    fn run(&mut self, requests: &Receiver<Question>) {
        loop {
            match requests.recv_timeout(TICK) {
                Ok((request, to)) => {
                    let answer = self.obey(request).map_err(|e| farrier_common::telemetry::Chain(&e).to_string());
                    let _ = to.send(answer);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_emulator();
            self.look_at_bmc();
        }
    }

    fn obey(&mut self, request: Request) -> Result<String> {
        match request {
            Request::Get(properties) => return Ok(properties.iter().map(|p| self.property(p)).collect()),
            Request::Pid => return Ok(self.running.as_ref().map(|r| r.emulator.id().to_string()).unwrap_or_default()),
            Request::Check => {}
            Request::Power(true) if self.running.is_none() => self.start("power on")?,
            Request::Power(true) => {}
            Request::Power(false) => self.power_off(),
            Request::Boot(device) => {
                self.log(&format!("boot device {}", device.map_or("as ever", BootDevice::as_str)));
                self.once = device;
            }
            Request::Reset if self.running.is_some() => {
                self.power_off();
                self.start("reset")?;
            }
            Request::Reset => {}
            Request::Shutdown => {
                if let Some(monitor) = self.running.as_mut().and_then(|r| r.monitor.as_mut()) {
                    qemu::execute(monitor, "system_powerdown")?;
                }
            }
        }
        Ok(String::new())
    }

    fn property(&self, name: &str) -> String {
        match name {
            "power" => format!("power:{}\n", u8::from(self.running.is_some())),
            "boot" => {
                let device = match self.once {
                    None => "none",
                    Some(BootDevice::Network) => "pxe",
                    Some(BootDevice::Disk) => "default",
                };
                format!("boot:{device}\n")
            }
            other => format!("{other}:0\n"),
        }
    }

    /// Starts the emulator with the boot order that holds now. A boot device that was set is used up by it.
    fn start(&mut self, why: &str) -> Result<()> {
        let dir = &self.spec.dir;
        if self.spec.machine.firmware == Firmware::Uefi && !dir.join("vars.fd").exists() {
            fs::copy(qemu::OVMF_VARS, dir.join("vars.fd")).map_err(LabError::io("cannot copy OVMF's variables"))?;
        }
        let first = self.once.take().unwrap_or(BootDevice::Network);
        self.log(&format!("{why}: first boots {first}"));
        let _ = fs::remove_file(dir.join("qmp.sock"));
        let log = append(&dir.join("qemu.log"))?;
        let errors = log.try_clone().map_err(LabError::io("cannot share QEMU's log"))?;
        // Nice: daemons and tests come before guests, whose processors are always busy.
        let emulator = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "nice", "-n", "5", "qemu-system-x86_64"])
            .args(qemu::command_line(&self.spec, first))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(LabError::io("cannot start qemu-system-x86_64"))?;
        let mut running = Running { emulator, monitor: None, last_words: thread::spawn(|| Stopped::Silent) };
        match qemu::connect(dir) {
            Ok(monitor) => {
                running.monitor = monitor.try_clone().ok();
                running.last_words = thread::spawn(move || qemu::last_words(monitor));
                self.running = Some(running);
                Ok(())
            }
            Err(error) => {
                let _ = running.emulator.kill();
                let _ = running.emulator.wait();
                self.log("the emulator did not start; see qemu.log");
                Err(error)
            }
        }
    }

    fn power_off(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.emulator.kill();
            let _ = running.emulator.wait();
            self.log("power off");
        }
    }

    /// Has the emulator ended by itself? A reset of the guest starts it again.
    fn look_at_emulator(&mut self) {
        let Some(running) = self.running.as_mut() else { return };
        if matches!(running.emulator.try_wait(), Ok(None)) {
            return;
        }
        let why = self.running.take().and_then(|r| r.last_words.join().ok()).unwrap_or(Stopped::Silent);
        match why {
            Stopped::Reset => {
                if let Err(error) = self.start("guest's reset") {
                    self.log(&format!("cannot restart: {error}"));
                }
            }
            Stopped::Off => self.log("the guest switched the power off"),
            Stopped::Silent => self.log("the emulator died"),
        }
    }

    /// Keeps the BMC running: it is known to die now and then.
    fn look_at_bmc(&mut self) {
        if let Some(bmc) = self.bmc.as_mut() {
            let Ok(Some(status)) = bmc.try_wait() else { return };
            self.log(&format!("the BMC ended with {status}"));
            self.bmc = None;
            self.bmc_ended = Some(Instant::now());
        }
        if self.bmc_ended.is_none_or(|at| at.elapsed() > BMC_PAUSE) {
            match self.start_bmc() {
                Ok(bmc) => self.bmc = Some(bmc),
                Err(error) => {
                    self.log(&format!("cannot start the BMC: {error}"));
                    self.bmc_ended = Some(Instant::now());
                }
            }
        }
    }

    fn start_bmc(&self) -> Result<Child> {
        let dir = self.spec.dir.join("bmc");
        let log = append(&dir.join("bmc.log"))?;
        let errors = log.try_clone().map_err(LabError::io("cannot share the BMC's log"))?;
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.spec.bmc)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(LabError::io("cannot start the BMC"))
    }

    #[expect(clippy::print_stdout, reason = "standard output is this process's log")]
    fn log(&self, text: &str) {
        println!("{} {}: {text}", Clock::System.now().format("%H:%M:%S%.3f"), self.spec.machine.name);
    }
}
