# Starts the gateway under test for scripts that source this: start_gateway ADDRESS [MORE ARGUMENTS].
#
# LAMPLIGHTER is the program. It listens on ADDRESS, a loopback address, with the usual ports 5060 and 8080.
LAMPLIGHTER=${LAMPLIGHTER:-${CARGO_TARGET_DIR:-target}/release/lamplighter}

http_status() { # ADDRESS PATH
    {
        exec 9<>"/dev/tcp/$1/8080" &&
            printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&9 &&
            read -rt 5 _ status _ <&9 && exec 9>&- && echo "$status"
    } 2>/dev/null
}

start_gateway() {
    local address=$1
    shift
    [ -x "$LAMPLIGHTER" ] || { echo "$LAMPLIGHTER is missing: cargo build --release, or say LAMPLIGHTER=..." >&2; return 1; }
    printf 'domains = ["example.com"]\nsip.listen = ["udp:%s:5060", "tcp:%s:5060"]\nweb.listen = "%s:8080"\nstore.path = ""\n' \
        "$address" "$address" "$address" >"$WORK/gateway.toml"
    "$LAMPLIGHTER" run --config "$WORK/gateway.toml" "$@" >"$WORK/gateway.log" 2>&1 &
    GATEWAY=$!
    for _ in $(seq 200); do
        [ "$(http_status "$address" /readyz)" = 200 ] && return
        kill -0 "$GATEWAY" 2>/dev/null || break
        sleep 0.05
    done
    echo "the gateway does not start:" >&2
    cat "$WORK/gateway.log" >&2
    return 1
}

stop_gateway() {
    [ -n "${GATEWAY:-}" ] || return 0
    kill "$GATEWAY" 2>/dev/null && wait "$GATEWAY"
    GATEWAY=
}
