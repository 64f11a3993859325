# Runs as root in a machine under test, its script on stdin. One request a line on the virtio-serial port
# org.mimg.control, "ID SECONDS BASE64(command)"; one answer a line, "ID RC BASE64(out) BASE64(err)". It needs no udev,
# so that a boot that hangs can be looked into.
name=org.mimg.control
port=
while [ -z "$port" ]; do
    for file in /sys/class/virtio-ports/*/name; do
        [ -e "$file" ] && [ "$(cat "$file")" = "$name" ] && port=/dev/$(basename "$(dirname "$file")")
    done
    [ -n "$port" ] || sleep 0.1
done
exec 3<>"$port"
cd "$RUNTIME_DIRECTORY" || exit 1
printf '\nready %s\n' "$(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r id seconds command <&3; do
    printf %s "$command" | base64 -d >command
    (cd / && exec timeout -k 2 "$seconds" sh "$RUNTIME_DIRECTORY/command") </dev/null >out 2>err 3>&-
    rc=$?
    { printf '%s %s ' "$id" "$rc"; base64 -w0 out; printf ' '; base64 -w0 err; echo; } >&3
done
