# Shared by the image scripts: packages from Debian without touching this machine's apt, and the disk layout.
# Sourced, not run. The caller sets $cache (a folder that is kept) and $work (a folder that is thrown away).
# shellcheck shell=sh disable=SC2154

suite=bookworm
signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"

# sources: the apt source lines of the images
sources() {
    echo "deb $signed http://deb.debian.org/debian $suite main"
    echo "deb $signed http://deb.debian.org/debian $suite-updates main"
    echo "deb $signed http://deb.debian.org/debian-security $suite-security main"
}

# apt_private COMMAND ARGUMENT... : apt-get or apt-cache, with the sources and lists of the images
apt_private() {
    command=$1
    shift
    "$command" -q -o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$cache/apt/lists" -o APT::Sandbox::User=root -o Acquire::Retries=5 "$@"
}

refresh_packages() {
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/debs"
    sources > "$cache/apt/sources.list"
    apt_private apt-get update
}

# kernel_of PACKAGE : the package with the kernel itself that a meta-package depends on
kernel_of() {
    apt_private apt-cache depends "$1" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

# unpack_packages ROOT PACKAGE... : downloads packages (without what they depend on) and unpacks them into ROOT
unpack_packages() {
    root=$1
    shift
    mkdir -p "$root" "$work/download"
    for package in "$@"; do
        file=$(apt_private apt-get --print-uris download "$package" | awk '{ print $2; exit }')
        [ -n "$file" ] || { echo "no package $package in $suite" >&2; return 1; }
        if [ ! -s "$cache/apt/debs/$file" ]; then
            (cd "$work/download" && apt_private apt-get download "$package")
            mv "$work/download/$file" "$cache/apt/debs/$file"
        fi
        dpkg -x "$cache/apt/debs/$file" "$root"
    done
}

# bytes NUMBER COUNT : NUMBER as COUNT little-endian bytes
bytes() {
    n=$1
    i=0
    while [ "$i" -lt "$2" ]; do
        # shellcheck disable=SC2059
        printf "\\$(printf '%03o' $((n & 255)))"
        n=$((n >> 8))
        i=$((i + 1))
    done
}

# patch FILE OFFSET : overwrites FILE at OFFSET with standard input
patch_file() {
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Sectors of the three partitions: GRUB for BIOS, EFI system partition, root file-system (to the end).
bios_start=2048
esp_start=4096
esp_sectors=49152
root_start=53248

# write_esp FILE TREE : the EFI system partition, with Debian's signed shim and GRUB out of TREE
write_esp() {
    truncate -s $((esp_sectors / 2048))M "$1"
    mkfs.vfat -n ESP "$1" > /dev/null
    mmd -i "$1" ::/EFI ::/EFI/BOOT ::/EFI/debian
    shim=$2/usr/lib/shim/shimx64.efi.signed
    grub=$2/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
    mcopy -i "$1" "$shim" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$1" "$grub" ::/EFI/BOOT/grubx64.efi
    mcopy -i "$1" "$shim" ::/EFI/debian/shimx64.efi
    mcopy -i "$1" "$grub" ::/EFI/debian/grubx64.efi
    mcopy -i "$1" "$work/early.cfg" ::/EFI/debian/grub.cfg
}

# write_bios_grub DISK : boot sector and core image by hand, as grub-install would (which needs a loop device)
write_bios_grub() {
    modules=/usr/lib/grub/i386-pc
    grub-mkimage -O i386-pc -d $modules -p /boot/grub -c "$work/early.cfg" -o "$work/core.img" \
        biosdisk part_gpt ext2 search search_label configfile normal linux serial terminal echo test
    size=$(stat -c %s "$work/core.img")
    core_sectors=$(((size + 511) / 512))
    [ "$core_sectors" -le $((esp_start - bios_start)) ] || { echo "GRUB's core image is too large" >&2; return 1; }
    cp $modules/boot.img "$work/boot.img"
    bytes $bios_start 8 | patch_file "$work/boot.img" $((0x5c))
    printf '\220\220' | patch_file "$work/boot.img" $((0x66))
    { bytes $((bios_start + 1)) 8; bytes $((core_sectors - 1)) 2; bytes $((0x820)) 2; } \
        | patch_file "$work/core.img" $((0x1f4))
    dd if="$work/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
    dd if="$work/core.img" of="$1" bs=512 seek=$bios_start conv=notrunc status=none
}

# write_disk TREE DISK MIB : a GPT disk that BIOS and UEFI (Secure Boot too) start; TREE becomes its root file-system,
# labelled rootfs. Needs no loop device and no mount.
write_disk() {
    printf 'search.fs_label rootfs root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' > "$work/early.cfg"
    mkdir -p "$1/boot/grub"
    cp -r /usr/lib/grub/i386-pc "$1/boot/grub/"
    rm -f "$2"
    truncate -s "$3M" "$2"
    # mke2fs clears the start of the file, so the partition table comes after it. The last MiB is the backup table's.
    mke2fs -q -t ext4 -L rootfs -m 0 -O ^has_journal,^metadata_csum_seed,^orphan_file \
        -E "lazy_itable_init=1,nodiscard,offset=$((root_start * 512))" \
        -d "$1" "$2" $((($3 * 2048 - root_start - 2048) / 2))k > /dev/null
    sfdisk -q --wipe-partitions never "$2" <<TABLE
label: gpt
start=$bios_start, size=$((esp_start - bios_start)), type=21686148-6449-6E6F-744E-656564454649, name=bios
start=$esp_start, size=$esp_sectors, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP
start=$root_start, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
TABLE
    write_esp "$work/esp.img" "$1"
    dd if="$work/esp.img" of="$2" bs=512 seek=$esp_start conv=notrunc,sparse status=none
    write_bios_grub "$2"
}

# grub_config KERNEL INITRD ARGUMENTS : /boot/grub/grub.cfg
grub_config() {
    cat <<CONFIG
set timeout=0
set gfxpayload=text
serial --unit=0 --speed=115200
terminal_output serial console
search --no-floppy --label rootfs --set=root
linux $1 root=LABEL=rootfs $3
initrd $2
boot
CONFIG
}
