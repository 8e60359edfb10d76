#!/bin/bash
# Install, use, upgrade, remove and purge the Debian package beside a CKAN, on a copy of this system that is thrown away.
#
#   unshare --mount --propagation private tests/install/debian.sh PACKAGE.deb CKAN-RELEASE CONSTRAINTS WHEELS INI DATASET
#
# The copy is an overlay in memory, in a mount namespace of its own. Run as root. WHEELS has the psycopg2 of bin/stack.
set -euo pipefail
deb=$1 release=$2 constraints=$3 wheels=$4 ini=$5 dataset=$6
venv=/usr/lib/ckan/default

step() { echo "== $*"; }

step "a copy of the system"
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
for folder in proc dev sys; do
    mount --rbind "/$folder" "$work/root/$folder"
done
cp "$deb" "$work/root/tmp/package.deb"
in_copy() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive chroot "$work/root" "$@"; }

step "the package without a CKAN: it says so, and is installed all the same"
rm -rf "$work/root/usr/lib/ckan"
in_copy dpkg -i /tmp/package.deb 2>&1 | tee "$work/said"
grep -q "there is no virtual environment with pip in $venv" "$work/said"
in_copy dpkg --purge ckanext-archiver

step "CKAN $release in $venv"
in_copy /usr/bin/python3 -m venv "$venv"
chroot "$work/root" "$venv/bin/pip" install --quiet --disable-pip-version-check --find-links "$wheels" --prefer-binary \
    --constraint "$constraints" "ckan[requirements]==$release" pylibmagic
echo "import pylibmagic" >"$(echo "$work/root$venv"/lib/python3*/site-packages)/libmagic.pth"
in_copy "$venv/bin/pip" list --format=freeze | LC_ALL=C sort >"$work/before"

step "the package beside CKAN"
in_copy dpkg -i /tmp/package.deb
in_copy "$venv/bin/pip" check
in_copy "$venv/bin/pip" list --format=freeze | LC_ALL=C sort >"$work/after"
test -z "$(comm -23 "$work/before" "$work/after")" # what was there is as it was
grep -q "^ckanext-archiver==" "$work/after"
test -d "$work/root/var/lib/ckan/archiver"

step "a link is archived"
in_copy "$venv/bin/ckan" -c "$ini" archiver worker --queue priority >"$work/worker.log" 2>&1 &
worker=$!
for _ in $(seq 30); do
    in_copy "$venv/bin/ckan" -c "$ini" archiver view "$dataset" >"$work/view" 2>/dev/null || true
    if grep -qi "\bok\b" "$work/view"; then break; fi
    sleep 1
done
kill "$worker"
wait "$worker" || true
cat "$work/worker.log" "$work/view"
grep -qi "\bok\b" "$work/view"

step "an upgrade"
dpkg-deb -R "$deb" "$work/newer"
sed -i 's/^Version: .*/Version: 99.0/' "$work/newer/DEBIAN/control"
dpkg-deb -b "$work/newer" "$work/root/tmp/newer.deb" >/dev/null
in_copy dpkg -i /tmp/newer.deb
in_copy "$venv/bin/pip" list --format=freeze | LC_ALL=C sort | cmp - "$work/after"

step "removal takes exactly its own"
in_copy dpkg --remove ckanext-archiver
in_copy "$venv/bin/pip" list --format=freeze | LC_ALL=C sort | cmp - "$work/before"
test -e "$work/root/etc/default/ckanext-archiver" # configuration stays until the purge
in_copy dpkg --purge ckanext-archiver
left=$(find "$work/root/etc" "$work/root/usr/lib" "$work/root/usr/share" "$work/root/lib/systemd" "$work/root/var/lib" \
    -path '*/usr/lib/ckan/default' -prune -o -name '*ckanext-archiver*' -print 2>/dev/null)
test -z "$left" || { echo "left behind: $left"; exit 1; }

step "passed"
