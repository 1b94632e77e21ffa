#!/bin/sh
# What firewalld needs so that portcullis' connections pass it. Set the two zones, then run it as root.
#
# firewalld cannot match a connection's mark with its nftables backend (firewalld.direct(5), "Caveats"):
# - Data connections whose destination portcullis translates (active mode behind NAT, published servers)
#   pass by themselves: firewalld accepts what a destination translation has chosen.
# - The others (passive mode behind NAT, no NAT at all) need a policy between the zones. It allows all TCP
#   ports from 1024 up in that direction, which is wider than portcullis' pinholes. Where that is too wide,
#   set FirewallBackend=iptables in /etc/firewalld/firewalld.conf: then the direct rules are exact and the
#   policy is left out.
#
# Port 21 is opened as a port, not as the service `ftp`, which would attach the kernel's FTP helper.
set -eu
inside=${INSIDE:-internal}
outside=${OUTSIDE:-external}

# Control connections: transparent listeners take them from the inside; published ones are dialled from the outside.
firewall-cmd --permanent --zone="$inside" --add-port=21/tcp
# firewall-cmd --permanent --zone="$outside" --add-port=21/tcp

# Data connections that portcullis carries itself (`data: relay`, `max-bytes`, `nat64`, a server of the other
# family) end at the edge, on both sides. The range is `kernel: { data-ports: ... }` in the configuration.
# firewall-cmd --permanent --zone="$inside" --add-port=49152-65535/tcp
# firewall-cmd --permanent --zone="$outside" --add-port=49152-65535/tcp

if grep -qs '^FirewallBackend=iptables' /etc/firewalld/firewalld.conf; then
    for family in ipv4 ipv6; do
        firewall-cmd --permanent --direct --add-rule "$family" filter FORWARD 0 \
            -m connmark --mark 0x2100/0xff00 -j ACCEPT
    done
else
    firewall-cmd --permanent --new-policy portcullis
    firewall-cmd --permanent --policy portcullis --add-ingress-zone "$inside"
    firewall-cmd --permanent --policy portcullis --add-egress-zone "$outside"
    firewall-cmd --permanent --policy portcullis --add-port 1024-65535/tcp
fi
firewall-cmd --reload
