#!/bin/bash
# Installs the Debian packages that the cluster needs and builds Kubernetes' binaries from Debian's source package, once:
# about 6 minutes on 2 cores. No package index offers them ready-made. `build.sh FOLDER`: where to keep what is built.
set -euo pipefail

home=$1
bin=$home/bin
work=$home/build
commands=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
installed=(ca-certificates catatonit conntrack containernetworking-plugins debootstrap dnsmasq-base dpkg-dev gcc
  golang-1.19-go iproute2 iptables jq libc6-dev make openssl podman procps rsync runc socat)
# Unpacked only: on a machine with systemd, installing these would also start them as services.
unpacked=(etcd-server containerd)

say() { echo "kubernetes: $*" >&2; }

install_packages() {
  say "installing Debian packages"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends --no-upgrade -o DPkg::Lock::Timeout=600 \
    -o Dpkg::Use-Pty=0 "${installed[@]}" >/dev/null
}

unpack_packages() {
  mkdir -p "$work/packages"
  cd "$work/packages"
  # As root, apt warns that its own user cannot write here; it then downloads as root, which is what is wanted.
  apt-get download -qq -o APT::Sandbox::User=root "${unpacked[@]}"
  local package
  for package in ./*.deb; do dpkg -x "$package" "$work/files"; done
  cp "$work"/files/usr/bin/{etcd,containerd,containerd-shim-runc-v2,ctr} "$bin/"
}

# The machine's own package sources as sources of source packages, in lists of this folder: its configuration stays as is.
fetch_source() {
  say "fetching the source of Kubernetes"
  mkdir -p "$work"/apt/{lists/partial,parts} "$work/source"
  cd "$work/apt"
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [ -f "$file" ] || continue
    case $file in
      *.list) sed -n 's/^deb /deb-src /p' "$file" >>sources.list ;;
      *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" >"parts/${file##*/}" ;;
    esac
  done
  local apt=(apt-get -qq -o "Dir::State::Lists=$PWD/lists" -o "Dir::Etc::SourceList=$PWD/sources.list"
    -o "Dir::Etc::SourceParts=$PWD/parts" -o "Dir::Cache::srcpkgcache=" -o "Dir::Cache::pkgcache="
    -o APT::Sandbox::User=root)
  "${apt[@]}" update
  cd "$work/source"
  "${apt[@]}" source kubernetes >/dev/null # the newest that the sources offer
}

compile() {
  cd "$work"/source/kubernetes-*/
  local version
  version=$(dpkg-parsechangelog -S Version | sed 's/.*really//; s/-.*//')
  say "building Kubernetes $version (about 6 minutes on 2 cores)"
  mkdir -p .go/src/k8s.io
  ln -sfn ../../.. .go/src/k8s.io/kubernetes
  local minor=${version#*.}
  env PATH="/usr/lib/go-1.19/bin:$PATH" HOME="$work" GOPATH="$PWD/.go" CGO_ENABLED=0 GOPROXY=off GOFLAGS=-mod=vendor \
    GO111MODULE=auto KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=debian KUBE_GIT_VERSION="v$version" \
    KUBE_GIT_MAJOR="${version%%.*}" KUBE_GIT_MINOR="${minor%%.*}" \
    make WHAT="${commands[*]/#/cmd/}" >&2
  local command
  for command in "${commands[@]}"; do install "$(find _output/local/bin -name "$command")" "$bin/"; done
}

# The image of the process that holds a pod's namespaces: Debian's catatonit, which is one static file.
make_pause_image() {
  local image=localhost/pause:1
  tar --create --directory /usr/bin catatonit |
    podman import --quiet --change 'ENTRYPOINT ["/catatonit", "-P"]' - "$image" >/dev/null
  rm -f "$home/pause.tar"
  podman save --quiet --output "$home/pause.tar" "$image"
  podman rmi "$image" >/dev/null
}

if [ -e "$home/built" ]; then exit 0; fi
mkdir -p "$bin"
install_packages
rm -rf "$work"
unpack_packages
fetch_source
compile
make_pause_image
rm -rf "$work"
touch "$home/built"
say "built in $home"
