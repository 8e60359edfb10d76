#!/bin/bash
# Run the README's own lines in a clean environment, to the first archival.
#
#   unshare … tests/install/readme.sh    (overlay.sh has the options)
#   RELEASE CONSTRAINTS WHEELS INI DATASET SOURCE LINES
#
# LINES has three files: install.sh, settings.ini and tables.sh with the README's literal blocks; the last line of the
# last one is the worker's. The address that the README clones leads to SOURCE.
set -euo pipefail
release=$1 constraints=$2 wheels=$3 ini=$4 dataset=$5 source=$6 lines=$7
. "$(dirname "$0")/overlay.sh"

make_copy
install_ckan "$release" "$constraints" "$wheels"
packages >"$work/before"

step "the portal's configuration file"
mkdir -p "$work/system/etc/ckan/default"
cp "$ini" "$work/system/etc/ckan/default/ckan.ini"
# The README's settings take the place of those of the same name.
while read -r line; do
    [ -n "$line" ] || continue
    name=${line%% =*}
    sed -i "/^$name *=/d" "$work/system/etc/ckan/default/ckan.ini"
    sed -i "s|^use = egg:ckan\$|&\n$line|" "$work/system/etc/ckan/default/ckan.ini"
done <"$lines/settings.ini"
mkdir -p "$work/system/var/lib/ckan/archiver"

step "install"
printf '[url "file://%s"]\n\tinsteadOf = https://github.com/ckan/ckanext-archiver\n[safe]\n\tdirectory = *\n' "$source" \
    >"$work/system/etc/gitconfig"
cp "$lines"/*.sh "$work/system/tmp/"
# With the environment of this process: pip may need its certificates.
chroot "$work/system" bash -euxc 'cd /tmp && . /tmp/install.sh'
in_copy "$venv/bin/pip" check
packages >"$work/after"
test -z "$(comm -23 "$work/before" "$work/after")" # CKAN's pins are as they were

step "tables and worker"
"${enter[@]}" bash -euxc '. /usr/lib/ckan/default/bin/activate && . /tmp/tables.sh' >"$work/worker.log" 2>&1 &
worker=$!
await_archival /etc/ckan/default/ckan.ini "$dataset" || { cat "$work/worker.log"; exit 1; }

step "passed"
