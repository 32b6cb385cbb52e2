// Finds the servers that the tests start privately, and installs those that are absent where it may.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import process from 'node:process'

const POSTGRES_DIR = '/usr/lib/postgresql'
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin', '/opt/homebrew/bin', '/opt/homebrew/sbin', '/usr/lib/rabbitmq/bin']

// The Debian package of each program that a test runs.
const NEEDED = [
  { program: 'nats-server', debianPackage: 'nats-server' },
  { program: 'rabbitmq-server', debianPackage: 'rabbitmq-server' },
  { program: 'postgres', debianPackage: 'postgresql' },
  { program: 'openssl', debianPackage: 'openssl' },
  // The programs in another language that prove the wire format.
  { program: 'python3', debianPackage: 'python3' },
]

// Runs as root. A policy that says 101 keeps the packages from starting their daemons on the standard
// ports; a policy that was there before comes back, whatever happens. Where systemd runs, the daemons
// are also kept from coming up with the next boot.
const INSTALL_SCRIPT = `
set -eu
policy=\${POLICY_FILE:-/usr/sbin/policy-rc.d}
kept=
restore() {
  rm -f "$policy"
  if [ -n "$kept" ]; then mv -f "$kept" "$policy"; fi
}
if [ -e "$policy" ]; then
  kept=$policy.before-trunkline
  mv -f "$policy" "$kept"
fi
trap restore EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\\nexit 101\\n' > "$policy"
chmod 755 "$policy"
export DEBIAN_FRONTEND=noninteractive
apt-get -q -o DPkg::Lock::Timeout=300 update
apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
if [ -d /run/systemd/system ]; then systemctl disable --quiet "$@" || true; fi
`

/** True when everything is there in the end. What is missing and cannot be installed is printed with the command to run. */
export function ensureServers() {
  const absent = absentServers()
  if (absent.length === 0) {
    console.log(`── servers: ${NEEDED.map(({ program }) => program).join(', ')} are installed`)
    return true
  }
  const packages = absent.map(({ debianPackage }) => debianPackage)
  const prefix = rootPrefix()
  if (prefix === undefined) return explain(absent, packages, 'They cannot be installed from here.')
  console.log(`── servers: installing ${packages.join(', ')} (no daemon is started)`)
  const { status } = install(prefix, packages)
  const left = absentServers()
  if (left.length === 0) return true
  return explain(left, left.map(({ debianPackage }) => debianPackage), `apt-get ended with status ${status}.`)
}

/** Installs Debian packages without letting them start anything. `prefix` makes the shell run as root. */
export function install(prefix, packages) {
  const [command, ...args] = [...prefix, 'sh', '-c', INSTALL_SCRIPT, 'install', ...packages]
  return spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
}

function absentServers() {
  return NEEDED.filter(({ program }) => !isInstalled(program))
}

function isInstalled(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS, ...(program === 'postgres' ? postgresFolders() : [])]
  return folders.some((folder) => folder !== '' && isExecutable(join(folder, program)))
}

function postgresFolders() {
  try {
    return readdirSync(POSTGRES_DIR).map((version) => join(POSTGRES_DIR, version, 'bin'))
  } catch {
    return []
  }
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** What to put before a command to run it as root without a question, or undefined where that is impossible. */
function rootPrefix() {
  if (!isInstalled('apt-get')) return undefined
  if (process.getuid?.() === 0) return []
  return spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0 ? ['sudo', '-n'] : undefined
}

function explain(absent, packages, reason) {
  console.error(`The tests run on real servers, and these are not installed: ${absent.map(({ program }) => program).join(', ')}. ${reason}`)
  console.error(`On Debian or Ubuntu run: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`)
  console.error('On other systems install them so that they are in the PATH. Nothing is skipped without them: npm test stops here.')
  return false
}
