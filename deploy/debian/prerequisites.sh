#!/bin/sh
# Installs what building, testing and running Farrier needs on a bare Debian 12. Does nothing when it is all there.
#
# Packages come through a private apt source list, so the machine's own sources stay as they are. QEMU comes from
# bookworm-backports: on machines with qemu-utils of backports, bookworm's own qemu-system cannot be installed.
# No daemon is left running: services are forbidden to start while packages are unpacked.
set -eu

cd "$(dirname "$0")/../.."

# compiler and database
packages="gcc libc6-dev libpq-dev make postgresql ca-certificates"
# virtual machines and BMCs
packages="$packages ipxe openipmi iproute2 util-linux kmod"
emulator="qemu-system-x86 seabios ovmf ipxe-qemu"
# images: ephemeral and disk
packages="$packages mmdebstrap debian-archive-keyring busybox-static cpio zstd xz-utils mtools dosfstools fdisk e2fsprogs grub-common grub-pc-bin"
# what simulated machines with the real agent have of the ephemeral image
packages="$packages dropbear-bin"
# other people's clients, as second opinions
packages="$packages ipmitool openssh-client freeipmi-tools atftp tftp-hpa udhcpc curl jq python3-venv dnsmasq-base"

# absent PACKAGE... : those that are not installed
absent() {
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p')
    for package in "$@"; do
        printf '%s\n' "$have" | grep -qx "$package" || printf '%s ' "$package"
    done
}

# apt_private ARGUMENT... : apt-get with the private source list
apt_private() {
    DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$private/lists" -o APT::Install-Recommends=false -o Acquire::Retries=5 "$@"
}

install_absent() {
    # shellcheck source=/dev/null
    . /etc/os-release
    if [ "${VERSION_CODENAME:-}" != bookworm ] || [ "$(id -u)" != 0 ]; then
        echo "prerequisites: not installed: $1$2" >&2
        echo "prerequisites: this script can install them only as root on Debian 12 (bookworm)" >&2
        exit 1
    fi
    private=$(mktemp -d)
    trap 'rm -rf "$private"; [ -z "${policy:-}" ] || rm -f "$policy"' EXIT
    mkdir -p "$private/lists/partial"
    signed="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    for suite in bookworm bookworm-updates bookworm-backports; do
        echo "deb $signed http://deb.debian.org/debian $suite main"
    done > "$private/sources.list"
    echo "deb $signed http://deb.debian.org/debian-security bookworm-security main" >> "$private/sources.list"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod +x "$policy"
    fi
    apt_private update
    # shellcheck disable=SC2086
    [ -z "$1" ] || apt_private install -y $1
    # shellcheck disable=SC2086
    [ -z "$2" ] || apt_private install -y -t bookworm-backports $2
}

check_cargo() {
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    PATH="$PATH:${HOME:-/root}/.cargo/bin"
    found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || true
    if [ -z "$found" ]; then
        echo "prerequisites: no cargo in PATH; Farrier needs Rust $wanted or newer (https://rustup.rs)" >&2
        exit 1
    fi
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "prerequisites: cargo is $found; Farrier needs Rust $wanted or newer (rustup update)" >&2
        exit 1
    fi
}

# shellcheck disable=SC2086
base_absent=$(absent $packages)
# shellcheck disable=SC2086
emulator_absent=$(absent $emulator)
[ -z "$base_absent$emulator_absent" ] || install_absent "$base_absent" "$emulator_absent"
check_cargo
