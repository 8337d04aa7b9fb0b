# What `.ci/systemd` does in a Debian with systemd: the unit of a host, with a monitor that keeps the device's socket open and
# a program that works.
set -eu
unit=ringbar@vm1
socket=/run/ringbar/vm1.sock
main() { systemctl show -p MainPID --value $unit; }
# Processes of the unit whose command line has this word.
named() {
    for pid in $(cat "/sys/fs/cgroup$(systemctl show -p ControlGroup --value $unit)/cgroup.procs"); do
        if tr '\0' ' ' < /proc/$pid/cmdline 2> /dev/null | grep -qw -- "$1"; then echo $pid; fi
    done
}
wait_for() { for _ in $(seq 300); do if "$@" > /dev/null; then return; fi; sleep 0.1; done; echo "never: $*"; exit 1; }
lost() { grep -c 'lost' /tmp/program || true; }
lost_is() { [ "$(lost)" = "$1" ] && [ "$(grep -c 'attached' /tmp/program)" = $(($1 + 1)) ]; }
active_anew() { [ "$(systemctl is-active $unit)" = active ] && [ "$(main)" != "$1" ]; }
inactive() { [ "$(systemctl is-active $unit)" != active ]; }
# Whether holder and connection are those of the beginning.
holds() {
    [ "$(named vm-holder)" = "$holder" ] || { echo "$1: another holder"; exit 1; }
    kill -0 $monitor || { echo "$1: the monitor lost its connection"; exit 1; }
    echo "$1: the same holder $holder, connected; the program lost its worker $(lost) times"
}

systemd-sysusers
mkdir -p /etc/ringbar
echo 'OPTIONS=--socket-group kvm' > /etc/ringbar/vm1.conf
systemctl start $unit
[ "$(stat -c '%U %G %a' $socket)" = "ringbar kvm 660" ]
ls -l /run/ringbar
python3 -c "
import socket
monitor = socket.socket(socket.AF_UNIX)
monitor.connect('$socket')
while monitor.recv(4096): pass
" & monitor=$!
holder=$(named vm-holder)
memory=$(find /proc/$holder/fd -lname '/memfd:ringbar-vm-vm1*' | head -n 1)
RINGBAR_VM=$memory ringbar-guest-tests work --count 100 > /tmp/program 2>&1 &
wait_for grep -q working /tmp/program
holds "systemctl start"

systemctl restart $unit
wait_for lost_is 1
holds "systemctl restart"

before=$(main) worker=$(named worker)
kill -9 "$before"
wait_for active_anew "$before"
[ "$(named worker)" = "$worker" ]
holds "kill -9 of the daemon"
lost_is 1

kill -9 "$worker"
wait_for lost_is 2
holds "kill -9 of a worker"

systemctl stop $unit
holds "systemctl stop"
systemctl start $unit
wait_for lost_is 3
holds "systemctl start"

systemctl kill $unit
wait_for inactive
systemctl start $unit
wait_for lost_is 4
holds "systemctl kill"

kill $monitor
gone() { ! ringbar_status | grep -q 'VM vm1: connected'; }
ringbar_status() { setpriv --reuid ringbar --regid ringbar --clear-groups ringbar status --socket $socket; }
wait_for gone
systemctl stop $unit
[ ! -e $socket ]
echo "systemctl stop without a VM: nothing is left"
