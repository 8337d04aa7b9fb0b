# What a carried guest does on a machine with a GPU: says what it is, checks the way to the host, runs every CUDA program.
uname -srm
grep -m 1 'model name' /proc/cpuinfo
echo "PCI functions of this machine, none of which is a GPU:"
for function in /sys/bus/pci/devices/*; do
    echo "  ${function##*/} $(cat $function/vendor):$(cat $function/device) class $(cat $function/class)"
done
echo "NVIDIA's driver in this machine: $(ls -d /proc/driver/nvidia /dev/nvidia* 2> /dev/null || echo none)"
ringbar vm check || true
for program in /programs/*; do
    name=${program##*/}
    # A program with a runtime of its own cannot be served.
    case $name in *_own_runtime) continue ;; esac
    code=0
    timeout 120 ringbar run -- $program > /tmp/said 2> /tmp/complained || code=$?
    cat /tmp/complained
    echo "-- $name begins"
    cat /tmp/said
    echo "-- $name ends with $code"
done
