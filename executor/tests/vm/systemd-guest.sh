# What `.ci/systemd` does in a Debian with systemd that has a device: the steps of VM.md for a user who is not root.
set -eu
useradd -m user
cd /root/install
install -D -t /usr/local/bin ringbar
install -D -t /usr/local/lib/ringbar libringbar_shim_cuda.so libringbar_shim_cudart.so
if su user -c 'ringbar vm check'; then echo "it is not root's yet"; exit 1; fi
groupadd --system ringbar
usermod -aG ringbar user
install -m 644 70-ringbar.rules /etc/udev/rules.d/
udevadm control --reload
udevadm trigger --action=add --subsystem-match=pci
udevadm settle
su user -c 'ringbar vm check'
install -m 644 ringbar-vm-hold.service /etc/systemd/system/
systemctl enable --now ringbar-vm-hold
su user -c 'ringbar vm check' | tee /tmp/said
grep -q 'by interrupts' /tmp/said
