# shellcheck shell=bash
# Certificates and kubeconfigs. To be sourced; works in the current directory, which nobody else may read.

# new_authority makes the authority ca.crt that signs all others.
new_authority() {
  # Nothing may come from the machine's own openssl.cnf.
  printf '[req]\ndistinguished_name = name\n[name]\n' >openssl.cnf
  new_certificate ca /CN=eventbus-test -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign
}

# new_leaf NAME SUBJECT [ALTERNATIVE_NAMES] makes NAME.crt and NAME.key, good for a server and a client.
new_leaf() {
  new_certificate "$1" "$2" -CA ca.crt -CAkey ca.key -addext keyUsage=critical,digitalSignature \
    -addext extendedKeyUsage=serverAuth,clientAuth ${3:+-addext "subjectAltName=$3"}
}

# new_certificate NAME SUBJECT OPTION…
new_certificate() {
  local name=$1 subject=$2 said
  shift 2
  said=$(openssl req -config openssl.cnf -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -keyout "$name.key" -out "$name.crt" -subj "$subject" "$@" 2>&1) || die "cannot make the certificate $name: $said"
}

# kubeconfig NAME PORT prints a kubeconfig for the certificate NAME that needs no other file.
kubeconfig() {
  cat <<YAML
apiVersion: v1
kind: Config
clusters:
  - name: eventbus-test
    cluster:
      server: https://127.0.0.1:$2
      certificate-authority-data: $(base64 -w0 ca.crt)
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 "$1.crt")
      client-key-data: $(base64 -w0 "$1.key")
contexts:
  - name: eventbus-test
    context: {cluster: eventbus-test, user: $1}
current-context: eventbus-test
YAML
}
