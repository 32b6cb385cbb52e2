import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './free-port.ts'
import { requireBinary } from './server-binary.ts'
import { credentialsOf, privateFolder, ServerProcess, type ServerOptions } from './server-process.ts'

interface Account {
  readonly uid: number
  readonly gid: number
}

const run = promisify(execFile)
const VERSIONS_DIR = '/usr/lib/postgresql'

/** Prepares a private PostgreSQL server with an empty database `postgres`; call `start()`. */
export async function postgresServer(options: ServerOptions = {}): Promise<ServerProcess> {
  const candidates = versionFolders()
  const find = (name: string): string => requireBinary(name, 'postgresql', candidates.map((folder) => join(folder, name)))
  const [command, initdb, isready] = [find('postgres'), find('initdb'), find('pg_isready')]
  const port = await freePort()
  const dir = privateFolder('postgres')
  const account = serverAccount()
  if (account !== undefined) chownSync(dir, account.uid, account.gid)
  const data = join(dir, 'data')
  const user = options.user ?? 'postgres'
  const passwordFile = join(dir, 'password')
  writeFileSync(passwordFile, `${options.password ?? ''}\n`)
  const login = options.password === undefined ? ['-A', 'trust'] : ['-A', 'scram-sha-256', `--pwfile=${passwordFile}`]
  const init = ['-D', data, '-U', user, ...login, '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']
  await run(initdb, init, { ...account, cwd: dir, timeout: 60_000 })
  if (options.tls !== undefined) copyKey(options.tls.keyFile, join(dir, 'server-key.pem'), account)
  writeFileSync(join(dir, 'extra.conf'), configuration(options, dir))
  return new ServerProcess({
    name: 'postgres',
    port,
    url: `postgres://${credentialsOf({ ...options, user })}127.0.0.1:${port}/postgres`,
    dir,
    command,
    args: ['-D', data, '-p', String(port), ...settings(dir)],
    ...account,
    // Fast shutdown; the default waits for every client to go away.
    stopSignal: 'SIGINT',
    startMs: 30_000,
    // After a SIGKILL the sessions' processes live on for a moment, and hold the shared memory.
    tooEarly: /pre-existing shared memory block|lock file "postmaster.pid" already exists/,
    ready: async () => {
      await run(isready, ['-q', '-h', '127.0.0.1', '-p', String(port)], { timeout: 5_000 })
      return true
    },
  })
}

function settings(dir: string): readonly string[] {
  const pairs = ['listen_addresses=127.0.0.1', `unix_socket_directories=${dir}`, 'max_connections=200', `config_file=${join(dir, 'extra.conf')}`]
  return pairs.flatMap((pair) => ['-c', pair])
}

function configuration(options: ServerOptions, dir: string): string {
  const lines = [`include '${join(dir, 'data', 'postgresql.conf')}'`, `data_directory = '${join(dir, 'data')}'`]
  lines.push(`hba_file = '${join(dir, 'data', 'pg_hba.conf')}'`, `ident_file = '${join(dir, 'data', 'pg_ident.conf')}'`)
  if (options.tls !== undefined) {
    lines.push('ssl = on', `ssl_cert_file = '${options.tls.certFile}'`, `ssl_key_file = '${join(dir, 'server-key.pem')}'`)
    if (options.tls.caFile !== undefined) lines.push(`ssl_ca_file = '${options.tls.caFile}'`)
  }
  return [...lines, ...(options.config ?? []), ''].join('\n')
}

/** PostgreSQL refuses a key that anyone but its own account can read. */
function copyKey(from: string, to: string, account: Account | undefined): void {
  copyFileSync(from, to)
  chmodSync(to, 0o600)
  if (account !== undefined) chownSync(to, account.uid, account.gid)
}

/** PostgreSQL refuses to run as root: there it gets the account that its package made. */
function serverAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** Debian keeps each major version in its own folder, outside the PATH; newest first. */
function versionFolders(): readonly string[] {
  try {
    const versions = readdirSync(VERSIONS_DIR).toSorted((a, b) => Number(b) - Number(a))
    return versions.map((version) => join(VERSIONS_DIR, version, 'bin'))
  } catch {
    return []
  }
}
