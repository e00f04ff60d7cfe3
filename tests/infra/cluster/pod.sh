#!/bin/sh
# A pod's view of the machine, without a container engine: a root that cannot be written to, the volumes at their
# mountPaths, one name file, one uid, no capability, and none to come. Runs in a user namespace that holds that uid alone,
# as `hostUsers: false` has it.
#
# usage: pod.sh ROOT BINARY HOSTS [VOLUME MOUNT_PATH ro|rw]… -- COMMAND…
set -eu
root=$1 binary=$2 hosts=$3
shift 3

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir "$root/etc" "$root/proc" "$root/dev" "$root/tmp" "$root/old" "$root/image"
for top in /usr /bin /sbin /lib /lib64; do
  if [ -L $top ]; then cp -P $top "$root$top"; elif [ -d $top ]; then mkdir "$root$top"; mount --rbind $top "$root$top"; fi
done
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$hosts" "$root/etc/hosts"
touch "$root/image/baton"
mount --bind "$binary" "$root/image/baton"

while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; touch "$root$2"; fi
  mount --bind "$1" "$root$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
  shift 3
done
shift

mount -o remount,bind,ro "$root"
cd "$root"
pivot_root . old
# umount(8) wants uid 0; hidden is as good.
mount -t tmpfs -o ro,size=4k tmpfs /old
exec setpriv --no-new-privs --ambient-caps=-all --inh-caps=-all --bounding-set=-all -- "$@"
