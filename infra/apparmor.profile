# Ubuntu 24.04 and later refuse user namespaces to plain users whose program no profile names
# (kernel.apparmor_restrict_unprivileged_userns=1). A worker that is root needs it too: each sandbox becomes another uid
# before it unshares. This allows that to one program and takes nothing from it.
#
#   install -m 0644 infra/apparmor.profile /etc/apparmor.d/baton && apparmor_parser -r /etc/apparmor.d/baton
abi <abi/4.0>,

profile baton /usr/local/bin/baton flags=(unconfined) {
  userns,
}
