#!/bin/sh
# Builds a disk image of Debian 12 with cloud-init for virtual machines: a real system, cut and tuned so that it
# starts in about a minute where the processor is emulated. Boots by BIOS and by UEFI (Secure Boot too).
#
# usage: build-debian.sh --out FILE.zst --cache DIR
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out= cache=
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=$2; shift 2 ;;
        --cache) cache=$2; shift 2 ;;
        *) echo "usage: build-debian.sh --out FILE.zst --cache DIR" >&2; exit 2 ;;
    esac
done
[ -n "$out" ] && [ -n "$cache" ] || { echo "build-debian.sh: --out and --cache are required" >&2; exit 2; }
mkdir -p "$cache/debian"
cache=$(cd "$cache" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=deploy/images/lib.sh
. "$here/lib.sh"

packages=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,systemd-resolved,udev,dbus,kmod,procps
packages=$packages,cloud-init,cloud-guest-utils,fdisk,e2fsprogs,zstd,sudo,openssh-server,iproute2,curl,ca-certificates
packages=$packages,grub-efi-amd64-signed,shim-signed
debs=$cache/debian
mmdebstrap --mode=root --variant=minbase --format=directory --quiet \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --skip=download/empty --skip=essential/unlink \
    --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"; cp '$debs'/*.deb \"\$1/var/cache/apt/archives/\" 2>/dev/null || true" \
    --customize-hook="cp -n \"\$1\"/var/cache/apt/archives/*.deb '$debs/'; rm -f \"\$1\"/var/cache/apt/archives/*.deb" \
    --customize-hook="'$here/debian/customize' \"\$1\"" \
    --include="$packages" "$suite" "$work/root" "$(sources)"

root=$work/root
version=$(ls "$root/lib/modules")
mkdir -p "$root/boot/grub"
grub_config "/boot/vmlinuz-$version" "/boot/initrd.img-$version" \
    "ro console=ttyS0,115200 quiet loglevel=3 systemd.show_status=0 mitigations=off clocksource=acpi_pm tsc=unstable panic=30" \
    > "$root/boot/grub/grub.cfg"
used=$(du -sxm "$root" | cut -f1)
write_disk "$root" "$work/disk.raw" $((used + used / 8 + 64))
zstd -q -12 -T0 -f "$work/disk.raw" -o "$out.part"
mv "$out.part" "$out"
