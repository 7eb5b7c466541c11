# Keeps one Postgres server for the process that holds the other end of standard input, and outlives it just long enough
# to clean up: however that process ends, the kernel closes the pipe.
#
# Arguments: the directory to work in and to remove, the directory of the binaries, then settings of the server.
# Commands, a line each: "start PORT", answered by the server's process id; "stop SIGNAL", answered when it is gone.

# Not signals that a terminal or a runner sends to everybody: the end of the pipe says when to stop.
trap '' HUP INT TERM PIPE

directory=$1
binaries=$2
shift 2
server=

stop() {
    if [ -n "$server" ]; then
        # More than once: a shell starts its background processes deaf to QUIT and INT, until they set handlers of their own.
        while kill -s "$1" "$server" 2>/dev/null; do
            sleep 0.05 2>/dev/null || sleep 1
        done
        # A server that nobody waits for stays in the process table, and its next start takes the lock file for live.
        wait "$server"
        server=
    fi
}

if "$binaries/initdb" -D "$directory/data" -U postgres -A trust -E UTF8 --locale=C --no-sync \
    </dev/null >"$directory/log" 2>&1
then echo ready
else echo failed
fi

while read -r command argument; do
    case $command in
        start)
            # Before the answer, so that nobody takes the last server's log for this one's.
            : >"$directory/log"
            "$binaries/postgres" -D "$directory/data" -p "$argument" "$@" </dev/null >>"$directory/log" 2>&1 &
            server=$!
            echo "$server"
            ;;
        stop)
            stop "$argument"
            echo stopped
            ;;
    esac
done

stop QUIT
cd /
rm -rf "$directory"
