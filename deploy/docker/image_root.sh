#!/usr/bin/env bash
# Fills a folder with all that programs need to run as the only content of an image.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: deploy/docker/image_root.sh ROOT FILE...

Copies each FILE to ROOT/usr/local/bin, or where the loader looks for it if it is a library with a
number, *.so.N; with the shared libraries that it is linked with, the certificates of public
authorities, a user to run as, and folders for volumes. Each library's Debian package leaves its
licence, and its entry where scanners of images look for it.
TEXT
}

# The shared libraries that files are linked with, at any remove, one a line.
libraries_of() {
  local linked
  linked=$(ldd "$@")
  if grep -F 'not found' <<<"$linked" >&2; then
    return 1
  fi
  sed -n 's,.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p' <<<"$linked" | sort -u
}

# The Debian packages of files, one a line. A package may know a file of /usr by its older path.
packages_of() {
  local -A package=()
  local files=() line file
  mapfile -t files < <(realpath "$@")
  while read -r line; do
    package[${line#*: }]=${line%%:*}
  done < <(dpkg-query -S "${files[@]}" "${files[@]#/usr}" 2>/dev/null)
  for file in "${files[@]}"; do
    echo "${package[$file]:-${package[${file#/usr}]:?there is no package of $file}}"
  done | sort -u
}

copy_files() {
  local root=$1 library package linked packages libraries
  shift
  for file in "$@"; do
    case $file in
      *.so.*) install -D --mode=644 --target-directory="$root/usr/lib" "$file" ;;
      *) install -D --strip --target-directory="$root/usr/local/bin" "$file" ;;
    esac
  done
  linked=$(libraries_of "$@") # a command's failure is lost in what it is part of
  mapfile -t libraries <<<"$linked"
  for library in "${libraries[@]}"; do
    install -D --mode="$(stat -L -c %a "$library")" "$library" "$root/usr/${library#/usr/}"
  done
  install -D --mode=644 --target-directory="$root/etc/ssl/certs" /etc/ssl/certs/ca-certificates.crt
  packages=$(packages_of "${libraries[@]}")
  for package in ca-certificates $packages; do
    dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    install -D --mode=644 --target-directory="$root/usr/share/doc/$package" \
      "/usr/share/doc/$package/copyright"
  done
}

main() {
  local root=$1
  mkdir -p "$root"/usr/{bin,lib,lib64} "$root"/{etc,tmp,var/lib/dpkg/status.d} \
    "$root"/var/lib/kvasir/{models,sessions}
  chmod 1777 "$root/tmp"
  for folder in bin lib lib64; do
    ln -sfn "usr/$folder" "$root/$folder"
  done
  copy_files "$@"
  install --mode=644 --target-directory="$root/usr/lib" /usr/lib/os-release
  ln -sfn ../usr/lib/os-release "$root/etc/os-release"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  echo 'kvasir:x:10001:10001::/nonexistent:/nonexistent' >"$root/etc/passwd"
  echo 'kvasir:x:10001:' >"$root/etc/group"
}

if [[ $# -lt 2 || $1 == -h || $1 == --help ]]; then
  usage
  exit $(($# < 2 ? 2 : 0))
fi
main "$@"
