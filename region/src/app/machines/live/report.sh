#!/bin/sh
# Tells Farrier what hardware this host has. Changes nothing on it. Run it as root: serial numbers are not for everybody.
set -eu
umask 077
RACK=${RACK:-@RACK@}

# One JSON string: control characters away, quotes and backslashes escaped, blanks at the ends cut.
text() {
    printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^ *//' -e 's/ *$//')"
}
# The content of a file, or nothing.
word() { cat "$1" 2>/dev/null || true; }
# A number, or 0.
number() { case "$1" in '' | *[!0-9]*) printf 0 ;; *) printf '%s' "$1" ;; esac; }
flag() { if [ "$1" = 1 ]; then printf true; else printf false; fi; }

disks() {
    first=1
    for path in /sys/block/*; do
        name=${path##*/}
        case "$name" in loop* | ram* | zram* | dm-* | md* | sr* | fd* | nbd* | drbd*) continue ;; esac
        [ "$(word "$path/removable")" = 1 ] && continue
        size=$(number "$(word "$path/size")")
        [ "$size" = 0 ] && continue
        serial=$(word "$path/device/serial")
        [ -n "$serial" ] || serial=$(word "$path/serial")
        [ -n "$serial" ] || serial=$(lsblk -dno SERIAL "/dev/$name" 2>/dev/null || true)
        case "$name" in
            nvme*) bus=nvme ;;
            vd*) bus=virtio ;;
            sd*) case "$(word "$path/device/vendor")" in ATA*) bus=ata ;; *) bus=scsi ;; esac ;;
            *) bus=other ;;
        esac
        discard=0
        [ "$(number "$(word "$path/queue/discard_max_bytes")")" -gt 0 ] && discard=1
        [ "$first" = 1 ] || printf ','
        first=0
        printf '{"name":%s,"serial":%s,"model":%s,"size_bytes":%s,"rotational":%s,"bus":"%s","discard":%s}' \
            "$(text "$name")" "$(text "$serial")" "$(text "$(word "$path/device/model")")" "$((size * 512))" \
            "$(flag "$(word "$path/queue/rotational")")" "$bus" "$(flag "$discard")"
    done
}

nics() {
    first=1
    for path in /sys/class/net/*; do
        [ -e "$path/device" ] || continue
        speed=$(word "$path/speed" 2>/dev/null)
        driver=$(readlink "$path/device/driver" 2>/dev/null || true)
        [ "$first" = 1 ] || printf ','
        first=0
        printf '{"name":%s,"mac":%s,"driver":%s,"carrier":%s,"speed_mbps":%s}' \
            "$(text "${path##*/}")" "$(text "$(word "$path/address")")" "$(text "${driver##*/}")" \
            "$(flag "$(word "$path/carrier")")" "$(number "$speed")"
    done
}

dmi=/sys/class/dmi/id
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
    printf '{"token":"@TOKEN@","hardware":{'
    printf '"vendor":%s,' "$(text "$(word $dmi/sys_vendor)")"
    printf '"product":%s,' "$(text "$(word $dmi/product_name)")"
    printf '"serial":%s,' "$(text "$(word $dmi/product_serial)")"
    printf '"uuid":%s,' "$(text "$(word $dmi/product_uuid)")"
    printf '"firmware_version":%s,' "$(text "$(word $dmi/bios_version)")"
    printf '"cpu_model":%s,' "$(text "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)")"
    printf '"cpu_cores":%s,' "$(grep -c '^processor' /proc/cpuinfo)"
    printf '"memory_bytes":%s,' "$(($(number "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)") * 1024))"
    printf '"disks":[%s],"nics":[%s]}}' "$(disks)" "$(nics)"
} >"$body"

# The token travels in the body: an argument would be seen by every user of this host.
if command -v curl >/dev/null 2>&1; then
    curl -fsS --max-time 60 -H 'Content-Type: application/json' --data-binary "@$body" "$RACK/live-inventory"
elif command -v wget >/dev/null 2>&1; then
    wget -q -T 60 -O - --header 'Content-Type: application/json' --post-file "$body" "$RACK/live-inventory"
else
    echo "neither curl nor wget is installed" >&2
    exit 1
fi
