#!/bin/sh
# Builds the mini OS: a disk image that boots in seconds even where the processor is emulated, and behaves like a
# cloud image: it reads cloud-init's NoCloud seed from its root file-system, runs user data that is a script, and
# phones home as its vendor data says. For tests and the demo. Boots by BIOS and by UEFI (Secure Boot too).
#
# usage: build-mini.sh --out FILE.zst --cache DIR
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out= cache=
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2; shift 2 ;;
        --cache) cache=$2; shift 2 ;;
        *) echo "usage: build-mini.sh --out FILE.zst --cache DIR" >&2; exit 2 ;;
    esac
done
[ -n "$out" ] && [ -n "$cache" ] || { echo "build-mini.sh: --out and --cache are required" >&2; exit 2; }
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=deploy/images/lib.sh
. "$here/lib.sh"

# --- kernel, modules, boot loaders
packages=$work/packages
refresh_packages
kernel_package=$(kernel_of linux-image-cloud-amd64)
unpack_packages "$packages" "$kernel_package" shim-signed grub-efi-amd64-signed
version=${kernel_package#linux-image-}
depmod -b "$packages" "$version"

# --- initramfs: busybox, the modules that reach disk and network, init
ird=$work/initramfs
mkdir -p "$ird/bin" "$ird/dev" "$ird/proc" "$ird/sys" "$ird/root" "$ird/modules"
cp /bin/busybox "$ird/bin/busybox"
cp "$here/mini/init" "$ird/init"
chmod 755 "$ird/init"
for module in virtio_pci virtio_blk virtio_scsi sd_mod nvme virtio_net virtio_rng ext4; do
    modprobe -d "$packages" -S "$version" -D "$module" 2>/dev/null | awk '$1 == "insmod" { print $2 }' | while read -r file; do
        name=$(basename "$file")
        grep -qx "$name" "$ird/modules/order" 2>/dev/null && continue
        cp "$file" "$ird/modules/$name"
        echo "$name" >> "$ird/modules/order"
    done
done
touch "$ird/modules/order"

# --- root file-system
root=$work/root
mkdir -p "$root/bin" "$root/sbin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/root" "$root/run" "$root/boot" \
    "$root/etc" "$root/var/lib/cloud/seed/nocloud" "$root/var/log" "$root/usr/lib"
cp /bin/busybox "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/mini/boot" "$root/sbin/init"
cp "$here/mini/udhcpc" "$root/etc/udhcpc.script"
chmod 755 "$root/sbin/init" "$root/etc/udhcpc.script"
cp "$packages/boot/vmlinuz-$version" "$root/boot/vmlinuz"
(cd "$ird" && find . | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) | zstd -q -19 > "$root/boot/initrd"
mkdir -p "$root/boot/grub"
grub_config /boot/vmlinuz /boot/initrd \
    "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off clocksource=acpi_pm tsc=unstable" > "$root/boot/grub/grub.cfg"
# Loaders come out of $packages, but write_disk takes them from the tree it is given.
cp -r "$packages/usr/lib/shim" "$packages/usr/lib/grub" "$root/usr/lib/"
rm -rf "$root/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed" "$root/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"
chown -R 0:0 "$root"

write_disk "$root" "$work/disk.raw" 96
zstd -q -12 -T0 -f "$work/disk.raw" -o "$out.part"
mv "$out.part" "$out"
