# shellcheck shell=bash
# What scripts/setup and its neighbours share: steps with their times, rights, and package lists.

log=$(mktemp "${TMPDIR:-/tmp}/labkit-setup.XXXXXX")
step_title="" step_number=0 step_count=6 step_began=0

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# Announce a step; `done_with` or the end of the script says how it went.
begin() {
  step_title=$1 step_number=$((step_number + 1)) step_began=$(milliseconds)
  printf '[%d/%d] %-22s ' "$step_number" "$step_count" "$step_title"
}

done_with() {
  local took=$(($(milliseconds) - step_began))
  back_to_title
  printf '%s (%d.%d s)\n' "$1" $((took / 1000)) $((took % 1000 / 100))
  step_title=""
}

# On a terminal, wipe what stands behind the step's title; elsewhere nothing does.
back_to_title() {
  if [ -t 1 ]; then printf '\r\033[K[%d/%d] %-22s ' "$step_number" "$step_count" "$step_title"; fi
}

# Run a command: all it says goes to the log, the latest line of it to a terminal.
run() {
  local line
  "$@" 2>&1 | while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    if [ -t 1 ]; then
      back_to_title
      printf '%.48s' "$line"
    fi
  done
}

# At the end, however it comes: what failed, in its own words, and that nothing is lost.
conclude() {
  local code=$?
  if [ "$code" -ne 0 ] && [ -n "$step_title" ]; then
    printf '\nsetup: the step "%s" failed:\n' "$step_title" >&2
    tail -n 15 "$log" | sed 's/^/    /' >&2
    echo "  → mend that and run it again: what is done stays done. All it said: $log" >&2
  else
    rm -f "$log"
  fi
  exit "$code"
}

as_root() {
  if [ "$EUID" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

# debian or ubuntu, for what is built on them too.
distribution() {
  local ID="" ID_LIKE=""
  # shellcheck disable=SC1091
  . /etc/os-release
  case " $ID $ID_LIKE " in *" ubuntu "*) echo ubuntu ;; *) echo debian ;; esac
}

# The packages of some lists that this machine should have. In brackets behind a
# name: the architectures and distributions it is for, or `or:PROGRAM`, which
# does as well where it is there (Docker's own packages, for instance).
wanted_packages() {
  local name conditions condition architecture distribution
  architecture=$(dpkg --print-architecture) distribution=$(distribution)
  sed 's/#.*//' "$@" | while read -r name conditions; do
    [ -n "$name" ] || continue
    for condition in $conditions; do
      condition=${condition#[} condition=${condition%]}
      case $condition in
        "$architecture" | "$distribution") ;;
        or:*) if command -v "${condition#or:}" >/dev/null; then continue 2; fi ;;
        *) continue 2 ;;
      esac
    done
    echo "$name"
  done
}

missing_packages() {
  comm -23 <(wanted_packages "$@" | sort -u) <(dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\n' |
    sed -n 's/^ii *//p' | sort -u)
}

update_package_lists() {
  run as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update
}

install_packages() {
  # --no-remove: another Docker or busybox on this machine is never exchanged for ours.
  run as_root env DEBIAN_FRONTEND=noninteractive scripts/without-services \
    apt-get -q install --yes --no-install-recommends --no-remove "$@"
}
