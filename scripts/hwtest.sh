#!/usr/bin/env bash
# Tests serialvisor on hardware that QEMU emulates: a 16550A, an FTDI adapter that is unplugged and plugged in, and a
# CDC-ACM gadget, with a Debian kernel's drivers. It prints a line for each check; docs/testing.md says what is checked.
# The kernel is unpacked, not installed, into $XDG_CACHE_HOME/serialvisor-hwtest. Arguments go to scripts/hwtest/host:
# -console shows the guest's console, -only REGEXP makes only the checks that match.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "hwtest: $1" >&2; exit 1; }

[ "$(go env GOARCH)" = amd64 ] || fail "the machine that is emulated is an amd64"
missing=()
command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
command -v busybox >/dev/null || missing+=(busybox-static)
command -v cpio >/dev/null || missing+=(cpio)
command -v xz >/dev/null || missing+=(xz-utils)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    fail "not all programs are there: apt-get install ${missing[*]}"
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
busybox=$(command -v busybox)
! ldd "$busybox" >/dev/null 2>&1 || fail "$busybox is not a static program: apt-get install busybox-static"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# In the order in which they can be loaded; some are part of the kernel.
modules=(usb/common/usb-common usb/core/usbcore usb/host/xhci-hcd usb/host/xhci-pci usb/host/xhci-pci-renesas usb/serial/usbserial
  usb/serial/ftdi_sio usb/class/cdc-acm usb/gadget/udc/udc-core usb/gadget/udc/dummy_hcd ../fs/configfs/configfs
  usb/gadget/libcomposite usb/gadget/function/u_serial usb/gadget/function/usb_f_acm usb/gadget/function/usb_f_serial
  usb/gadget/function/usb_f_obex usb/gadget/legacy/g_serial)

# unpack_kernel leaves vmlinuz and the modules, unpacked and numbered in that order, in a folder of the cache.
unpack_kernel() {
  command -v apt-get >/dev/null || fail "the kernel comes from a Debian package, and there is no apt-get"
  local meta package n=10
  find_package() {
    for meta in linux-image-6.12-amd64 linux-image-amd64; do
      package=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
      [ -z "$package" ] || return 0
    done
    return 1
  }
  if ! find_package; then
    [ "$(id -u)" != 0 ] || apt-get update -qq
    find_package || fail "apt-get knows no kernel linux-image-amd64: is this Debian, and was apt-get update run?"
  fi
  echo "hwtest: unpacking $package into $cache" >&2
  mkdir -p "$work/package" "$work/unpacked"
  (cd "$work/package" && apt-get download -qq "$package" 2>/dev/null) ||
    { [ "$(id -u)" = 0 ] && apt-get update -qq && (cd "$work/package" && apt-get download -qq "$package"); } ||
    fail "apt-get download $package failed"
  dpkg -x "$work"/package/*.deb "$work/unpacked"
  local lib
  lib=$(echo "$work"/unpacked/lib/modules/*)
  mkdir -p "$work/kernel/modules"
  for module in "${modules[@]}"; do
    local path=kernel/drivers/$module name=${module##*/}
    case $module in ../*) path=kernel/${module#../} ;; esac
    n=$((n + 1))
    if [ -f "$lib/$path.ko.xz" ]; then
      xz -dc "$lib/$path.ko.xz" >"$work/kernel/modules/$n-$name.ko"
    elif [ -f "$lib/$path.ko" ]; then
      cp "$lib/$path.ko" "$work/kernel/modules/$n-$name.ko"
    elif ! grep -q "/$name.ko" "$lib/modules.builtin"; then
      fail "$package has no module $name"
    fi
  done
  mv "$work"/unpacked/boot/vmlinuz-* "$work/kernel/vmlinuz"
  mv -T "$work/kernel" "$cache/$package" 2>/dev/null || [ -f "$cache/$package/vmlinuz" ] # another run was faster
  kernel=$cache/$package
}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/serialvisor-hwtest
mkdir -p "$cache"
kernel=$(find "$cache" -maxdepth 2 -name vmlinuz -printf '%h\n' 2>/dev/null | sort -V | tail -1)
[ -n "$kernel" ] || unpack_kernel

# The programs under test are built as they are shipped, but static: there is no C library in the guest.
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,run,modules}
CGO_ENABLED=0 go build -ldflags='-s -w' -o "$root/bin/" ./cmd/supervisor ./cmd/reader ./cmd/writer ./scripts/hwtest/guest
go build -o "$work/host" ./scripts/hwtest/host
cp "$kernel"/modules/*.ko "$root/modules/"
cp "$busybox" "$root/bin/busybox"
for applet in sh mount mkdir insmod ip poweroff; do ln -s busybox "$root/bin/$applet"; done
cp scripts/hwtest/init "$root/init"
chmod +x "$root/init"
# Not compressed: to unpack it takes an emulated machine longer than to load it.
(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work/initrd"
"$work/host" -kernel "$kernel/vmlinuz" -initrd "$work/initrd" "$@"
