# A copy of this system that is thrown away, with a CKAN in it. Sourced by the scripts beside it, which run as
#
#   unshare --mount --propagation private --pid --fork --kill-child SCRIPT …
#
# The copy is an overlay in memory, mounted in that namespace alone; no process outlives the script.
venv=/usr/lib/ckan/default

step() { echo "== $*"; }

# Run a program in the copy, with the environment of a fresh log-in.
in_copy() { "${enter[@]}" "$@"; }

make_copy() {
    step "a copy of the system"
    work=$(mktemp -d)
    mount -t tmpfs tmpfs "$work"
    mkdir "$work/upper" "$work/work" "$work/system"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/system"
    mount -t proc proc "$work/system/proc"
    for folder in dev sys; do
        mount --rbind "/$folder" "$work/system/$folder"
    done
    # For what runs in the background: the process itself, where a function would be a shell around it.
    enter=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
        DEBIAN_FRONTEND=noninteractive chroot "$work/system")
    rm -rf "$work/system/usr/lib/ckan"
}

# install_ckan RELEASE CONSTRAINTS WHEELS: as CKAN's own packages place it. WHEELS has the psycopg2 of bin/stack.
install_ckan() {
    step "CKAN $1 in $venv"
    in_copy /usr/bin/python3 -m venv "$venv"
    chroot "$work/system" "$venv/bin/pip" install --quiet --disable-pip-version-check --find-links "$3" --prefer-binary \
        --constraint "$2" "ckan[requirements]==$1" pylibmagic
    echo "import pylibmagic" >"$(echo "$work/system$venv"/lib/python3*/site-packages)/libmagic.pth"
}

packages() { in_copy "$venv/bin/pip" list --format=freeze | LC_ALL=C sort; }

# await_archival INI DATASET: wait until the link of a dataset is known to work.
await_archival() {
    for _ in $(seq 30); do
        in_copy "$venv/bin/ckan" -c "$1" archiver view "$2" >"$work/view" 2>/dev/null || true
        if grep -qi '\bok\b' "$work/view"; then
            cat "$work/view"
            return 0
        fi
        sleep 1
    done
    cat "$work/view"
    return 1
}
