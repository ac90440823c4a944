#!/bin/bash
# Builds the ephemeral image: OUT/vmlinuz, OUT/initrd.zst and OUT/manifest (what is in them).
# Takes the kernel and busybox from a Debian or Ubuntu mirror, verified by its archive key, with an apt configuration of
# its own: the host's sources and caches are neither used nor changed. Needs no root.
# The same packages and the same agent give the same bytes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
    cat <<'USAGE'
usage: build.sh --out DIR [options]

  --out DIR           where to put vmlinuz, initrd.zst and manifest (made if need be)
  --suite NAME        suite of the mirror                      [bookworm]
  --mirror URL        package mirror                           [http://deb.debian.org/debian]
  --components LIST   components of the suite                  [main]
  --source LINE       a further source, such as "http://deb.debian.org/debian-security bookworm-security main";
                      may be repeated; the newest kernel of all sources is taken
  --keyring FILE      keys that sign the suite                 [/usr/share/keyrings/debian-archive-keyring.gpg]
  --kernel PACKAGE    kernel package                           [linux-image-amd64]
                      linux-image-cloud-amd64 is smaller and boots faster, but drives virtual hardware only
  --firmware LIST     packages whose firmware files go in, such as "firmware-bnx2x firmware-qlogic"  [none]
  --agent FILE        static farrier-agent                     [built with cargo]
  --arch NAME         amd64                                    [amd64]
  --cache DIR         keeps downloaded packages from run to run [none]
  --level N           zstd level of the initrd, 1 to 19        [19]

For Ubuntu: --mirror http://archive.ubuntu.com/ubuntu --suite noble --components "main universe" \
            --keyring /usr/share/keyrings/ubuntu-archive-keyring.gpg --kernel linux-image-generic
USAGE
}

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

out='' suite=bookworm mirror=http://deb.debian.org/debian components=main sources=()
keyring=/usr/share/keyrings/debian-archive-keyring.gpg kernel=linux-image-amd64 firmware=''
agent='' arch=amd64 cache='' level=19
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage && exit 0 ;;
    --out | --suite | --mirror | --components | --source | --keyring | --kernel | --firmware | --agent | --arch | --cache | --level)
        [ $# -ge 2 ] || fail "$1 needs a value"
        ;;&
    --out) out=$2 ;;
    --suite) suite=$2 ;;
    --mirror) mirror=$2 ;;
    --components) components=$2 ;;
    --source) sources+=("$2") ;;
    --keyring) keyring=$2 ;;
    --kernel) kernel=$2 ;;
    --firmware) firmware=$2 ;;
    --agent) agent=$2 ;;
    --arch) arch=$2 ;;
    --cache) cache=$2 ;;
    --level) level=$2 ;;
    *) usage >&2 && fail "unknown option $1" ;;
    esac
    shift 2
done
[ -n "$out" ] || { usage >&2 && fail "--out is missing"; }
[ "$arch" = amd64 ] || fail "--arch must be amd64"
[[ $level =~ ^([1-9]|1[0-9])$ ]] || fail "--level must be 1 to 19, not $level"
[ -r "$keyring" ] || fail "--keyring: cannot read $keyring"
PATH=$PATH:/usr/sbin:/sbin
for tool in apt-get apt-cache dpkg dpkg-deb depmod cpio zstd xz sha256sum objdump; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "${cache:=$work/cache}"
out=$(cd "$out" && pwd)
cache=$(cd "$cache" && pwd)
export LC_ALL=C TZ=UTC

build_agent() {
    [ -n "$agent" ] && return
    echo "building the agent"
    (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile agent \
        --target x86_64-unknown-linux-gnu -p farrier-agent --target-dir target/agent)
    agent=$root/target/agent/x86_64-unknown-linux-gnu/agent/farrier-agent
}

# apt with folders of its own; --sandbox is off because a private folder is not readable for user _apt.
configure_apt() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache" "$work/apt/none"
    : >"$work/apt/status"
    {
        echo "deb [arch=$arch signed-by=$keyring] $mirror $suite $components"
        for line in ${sources[@]+"${sources[@]}"}; do echo "deb [arch=$arch signed-by=$keyring] $line"; done
    } >"$work/apt/sources.list"
    cat >"$work/apt/apt.conf" <<APT
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "$work/apt/none";
Dir::Etc::preferences "$work/apt/none/preferences";
Dir::Etc::preferencesparts "$work/apt/none";
Dir::Etc::trusted "$work/apt/none/trusted.gpg";
Dir::Etc::trustedparts "$work/apt/none";
Dir::Etc::parts "$work/apt/none";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
APT
    export APT_CONFIG=$work/apt/apt.conf
    apt-get -qq update || fail "cannot read the package lists of $mirror $suite"
}

# A kernel package and the image and module packages that it depends on, directly or not; no firmware, no boot loader.
kernel_packages() {
    local todo=("$1") name next
    local -A seen=()
    while [ ${#todo[@]} -gt 0 ]; do
        name=${todo[0]}
        todo=("${todo[@]:1}")
        [ -z "${seen[$name]:-}" ] || continue
        seen[$name]=1
        echo "$name"
        while read -r next; do todo+=("$next"); done < <(apt-cache depends --no-recommends --no-suggests "$name" |
            sed -nE 's/^ *Depends: (linux-(image|modules)[^ <>]*)$/\1/p')
    done
}

# Downloads package $1 and unpacks it below $2.
unpack() {
    local deb
    # Asked in an empty folder: apt names no file that is there already. It checks what is there by its digest.
    deb=$(cd "$work/apt/none" && apt-get -qq download --print-uris "$1" | awk 'NR == 1 { print $2 }')
    [ -n "$deb" ] && (cd "$cache" && apt-get -qq download "$1") || fail "cannot download $1 from $mirror $suite"
    mkdir -p "$2"
    dpkg -x "$cache/$deb" "$2"
    dpkg-deb --show --showformat '${Package} ${Version} ${Architecture}\n' "$cache/$deb" >>"$work/packages"
}

# Ubuntu compresses its modules; busybox loads plain ones.
plain_modules() {
    find "$1" -name '*.ko.xz' -exec xz -dq {} +
    find "$1" -name '*.ko.zst' -exec zstd -dq --rm {} +
}

# Copies the modules that the list names, and all that they need, from tree $1 to tree $2.
pick_modules() {
    local from=$1/lib/modules/$version to=$2/lib/modules/$version pattern
    (cd "$from/kernel" && while read -r pattern; do
        case $pattern in
        '' | '#'*) continue ;;
        '!'*) find . \( -path "./${pattern#!}" -o -path "./${pattern#!}/*" \) -name '*.ko' >>"$work/without" ;;
        *) find . \( -path "./$pattern" -o -path "./$pattern/*" \) -name '*.ko' >>"$work/with" ;;
        esac
    done <"$here/modules")
    sort -u "$work/with" | grep -vxFf "$work/without" | sed 's,^\./,kernel/,' >"$work/wanted"
    awk 'NR == FNR { want[$1]; next }
         { name = $1; sub(/:$/, "", name); if (name in want) for (i = 1; i <= NF; i++) { sub(/:$/, "", $i); print $i } }' \
        "$work/wanted" "$from/modules.dep" | sort -u >"$work/picked"
    mkdir -p "$to"
    (cd "$from" && cpio --quiet -pdm "$to" <"$work/picked")
    cp "$from"/modules.{order,builtin,builtin.modinfo} "$to"
    depmod -b "$2" "$version"
    # Only busybox' modprobe reads this tree.
    rm -f "$to"/modules.*.bin "$to"/modules.{order,builtin.modinfo,devname,symbols}
}

# The SSH server of the rescue environment, and the libraries that it needs; keys alone open it.
ssh_server() {
    local tree=$1 package program library from=$work/ssh
    for package in dropbear-bin libc6 libcrypt1 libtomcrypt1 libtommath1 libgmp10 zlib1g; do unpack "$package" "$from"; done
    for program in dropbear dropbearkey; do
        install -m 0755 "$(find "$from/usr" -type f -name "$program" -path '*bin/*' | head -n 1)" "$tree/bin/$program"
    done
    mkdir -p "$tree/lib64" "$tree/lib/x86_64-linux-gnu"
    # By name as the programs ask for them, and what those ask for in turn.
    local todo=("$tree/bin/dropbear" "$tree/bin/dropbearkey") file
    local -A seen=()
    while [ ${#todo[@]} -gt 0 ]; do
        file=${todo[0]}
        todo=("${todo[@]:1}")
        while read -r library; do
            [ -z "${seen[$library]:-}" ] || continue
            seen[$library]=1
            file=$(find "$from/lib" "$from/usr/lib" "$from/lib64" -name "$library" 2>/dev/null | head -n 1)
            [ -n "$file" ] || fail "no package brings $library, which the SSH server needs"
            case $library in
            ld-linux*) install -m 0755 "$(readlink -f "$file")" "$tree/lib64/$library" ;;
            *) install -m 0755 "$(readlink -f "$file")" "$tree/lib/x86_64-linux-gnu/$library" ;;
            esac
            todo+=("$tree/lib/x86_64-linux-gnu/$library")
        done < <([ ! -e "$file" ] || needs "$file")
    done
    mkdir -p "$tree/root"
    chmod 0700 "$tree/root"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    echo '/bin/sh' >"$tree/etc/shells"
}

# The libraries that program or library $1 asks for by name.
needs() {
    objdump -p "$1" | awk '$1 == "NEEDED" { print $2 }'
    [[ $1 != */bin/* ]] || echo ld-linux-x86-64.so.2
}

lay_tree() {
    local tree=$work/tree package
    mkdir -p "$tree"/{bin,dev,etc,proc,run,sys,tmp} "$tree/lib"
    ln -s bin "$tree/sbin"
    cp "$work/busybox/bin/busybox" "$tree/bin/busybox" 2>/dev/null || cp "$work/busybox/usr/bin/busybox" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    # The kernel asks for modules by this path.
    ln -s busybox "$tree/bin/modprobe"
    install -m 0755 "$agent" "$tree/bin/farrier-agent"
    install -m 0755 "$here/init" "$tree/init"
    install -m 0755 "$here/udhcpc.script" "$tree/etc/udhcpc.script"
    echo '127.0.0.1 localhost' >"$tree/etc/hosts"
    echo 'hosts: files dns' >"$tree/etc/nsswitch.conf"
    pick_modules "$work/kernel" "$tree"
    ssh_server "$tree"
    for package in $firmware; do
        unpack "$package" "$work/firmware"
    done
    if [ -n "$firmware" ]; then
        [ ! -d "$work/firmware/usr/lib/firmware" ] || cp -a "$work/firmware/usr/lib/firmware" "$tree/lib/"
        [ ! -d "$work/firmware/lib/firmware" ] || cp -a "$work/firmware/lib/firmware" "$tree/lib/"
    fi
}

pack() {
    local epoch
    epoch=$(stat -c %Y "$work/vmlinuz")
    find "$work/tree" -exec touch -h -d "@$epoch" {} +
    (cd "$work/tree" && find . -print0 | sort -z | cpio --quiet --null -o -H newc -R 0:0 --reproducible) |
        zstd -q -T0 "-$level" -o "$work/initrd.zst"
}

build_agent
[ -x "$agent" ] || fail "--agent: $agent is no program"
if ldd "$agent" 2>/dev/null | grep -q '=>'; then fail "--agent: $agent is not static"; fi
echo "fetching $kernel from $mirror $suite"
configure_apt
: >"$work/packages"
: >"$work/with"
: >"$work/without"
for package in $(kernel_packages "$kernel"); do unpack "$package" "$work/kernel"; done
[ -d "$work/kernel/lib/modules" ] || { mkdir -p "$work/kernel/lib" && mv "$work/kernel/usr/lib/modules" "$work/kernel/lib/"; }
unpack busybox-static "$work/busybox"
version=$(ls "$work/kernel/lib/modules")
[ "$(wc -w <<<"$version")" = 1 ] || fail "$kernel brings not one kernel but: $version"
cp -p "$work/kernel/boot/vmlinuz-$version" "$work/vmlinuz"
plain_modules "$work/kernel/lib/modules/$version"
depmod -b "$work/kernel" "$version"
echo "packing the initrd of Linux $version"
lay_tree
pack

{
    echo "linux $version"
    echo "mirror $mirror $suite $components"
    sort -u "$work/packages" | sed 's/^/package /'
    echo "modules $(wc -l <"$work/picked")"
    for file in "$agent" "$work/vmlinuz" "$work/initrd.zst"; do
        echo "file ${file##*/} $(stat -c %s "$file") $(sha256sum <"$file" | cut -d' ' -f1)"
    done
} >"$work/manifest"
install -m 0644 "$work/vmlinuz" "$work/initrd.zst" "$work/manifest" "$out"
cat "$out/manifest"
