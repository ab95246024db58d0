# Sourced by the other scripts: sets up what is missing, and nothing that is there already.
# The system's packages come by apt and need root; the Python ones go into .venv beside the sources.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"

# Compiled files are kept, whatever the caller's environment says: the command starts anew so often.
unset PYTHONDONTWRITEBYTECODE

# What the engine runs on, and what tests and demo add to it: command → Debian package.
RUN_NEEDS=(crun:crun runc:runc conmon:conmon skopeo:skopeo nft:nftables iptables-legacy:iptables ip:iproute2 ps:procps tini-static:tini)
TRY_NEEDS=(busybox:busybox-static curl:curl dig:dnsutils conntrack:conntrack nsenter:util-linux ping:iputils-ping)
TEST_NEEDS=(docker-registry:docker-registry openssl:openssl zsh:zsh fish:fish mandoc:mandoc zstd:zstd bzip2:bzip2 xz:xz-utils docker-compose:docker-compose /usr/lib/cni/bridge:containernetworking-plugins dnsmasq:dnsmasq-base)
TORTURE_NEEDS=(strace:strace firewalld:firewalld ufw:ufw dbus-daemon:dbus-daemon)

install_missing() { # install_missing command:package… — asks apt only for what no command shows
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ -e /usr/share/doc/libnftables1 ] || missing+=(libnftables1)
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing programs; install the packages: ${missing[*]}" >&2
        exit 1
    fi
    echo "installing ${missing[*]}" >&2
    apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
}

ensure_venv() { # ensure_venv [extra] — .venv with this project, its dependencies and its plugins, made anew when a pyproject changes
    local want have stamp=.venv/.made-from
    want=$(cat pyproject.toml plugins/*/pyproject.toml | cksum)${1:+ $1}
    have=$(cat $stamp 2>/dev/null || true)
    if [ -x .venv/bin/python ] && [[ "$have" == "$want"* ]]; then return; fi
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null || ! command -v gcc >/dev/null; then
        # python-iptables comes as source and is compiled against Python's headers.
        install_missing no-venv:python3-venv gcc:gcc no-headers:python3-dev no-headers:libc6-dev
    fi
    echo "setting up .venv" >&2
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e ".${1:+[$1]}"
    if [ -n "${1:-}" ]; then # whoever tests and checks does so with the plugins
        local plugin
        for plugin in plugins/*/pyproject.toml; do
            .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --config-settings editable_mode=compat -e "${plugin%/*}"
        done
    fi
    echo "$want" >$stamp
}
