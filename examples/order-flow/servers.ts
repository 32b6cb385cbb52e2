import { execFile, execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Guard } from './guard.ts'
import { Program, type ProgramPlan, freePort, programOf } from './program.ts'

const run = promisify(execFile)

/** A broker that belongs to this run of the demo. */
export interface PrivateServer {
  readonly url: string
  /** Stops it in order and starts it again with the same data. */
  restart(): Promise<void>
  /** Ends it as a crash does, and starts it again with the same data. */
  killAndRestart(): Promise<void>
  /** Stops it; its data lies in the demo's folder and goes with that. */
  close(): Promise<void>
}

/** A server of the machine, started. */
async function started(url: string, plan: ProgramPlan): Promise<PrivateServer> {
  const program = new Program(plan)
  await program.start()
  const again = async (signal?: NodeJS.Signals): Promise<void> => {
    await program.stop(signal)
    await program.start()
  }
  return { url, restart: () => again(), killAndRestart: () => again('SIGKILL'), close: () => program.stop() }
}

/** Starts a NATS server with JetStream on a free port of this machine. */
export async function natsServer(dir: string, guard: Guard): Promise<PrivateServer> {
  const command = programOf('nats-server', ['/usr/sbin', '/usr/local/bin'])
  const port = await freePort()
  const config = join(dir, 'nats.conf')
  writeFileSync(config, `listen: 127.0.0.1:${port}\njetstream { store_dir: ${JSON.stringify(join(dir, 'jetstream'))} }\n`)
  return await started(`nats://127.0.0.1:${port}`, { name: 'nats-server', command, args: ['-c', config], dir, env: process.env, guard, port })
}

/** Starts a RabbitMQ server without plugins on a free port of this machine; it takes some seconds. */
export async function rabbitmqServer(dir: string, guard: Guard): Promise<PrivateServer> {
  const home = join(dir, 'rabbitmq')
  mkdirSync(home)
  // The script behind Debian's wrapper, which would change the user and drop these variables.
  const command = programOf('rabbitmq-server', ['/usr/lib/rabbitmq/bin', '/usr/local/lib/rabbitmq/sbin', '/opt/homebrew/sbin'], true)
  const [port, distributionPort, mapperPort] = [await freePort(), await freePort(), await freePort()]
  const env = rabbitmqEnvironment(home, port, distributionPort, mapperPort)
  // As our own child; the server would start one that outlives it.
  const epmd = programOf('epmd', ['/usr/bin', '/usr/lib/erlang/bin'])
  const mapper = new Program({ name: 'epmd', command: epmd, args: ['-port', `${mapperPort}`, '-address', '127.0.0.1'], dir, env, guard, port: mapperPort })
  try {
    await mapper.start()
    const server = await started(`amqp://guest:guest@127.0.0.1:${port}`, { name: 'rabbitmq-server', command, args: [], dir: home, env, guard, port })
    return {
      ...server,
      async close() {
        await server.close()
        await mapper.stop('SIGKILL')
      },
    }
  } catch (error) {
    await mapper.stop('SIGKILL')
    throw error
  }
}

function rabbitmqEnvironment(home: string, port: number, distributionPort: number, mapperPort: number): NodeJS.ProcessEnv {
  writeFileSync(join(home, 'rabbitmq.conf'), `listeners.tcp.1 = 127.0.0.1:${port}\ndisk_free_limit.absolute = 50MB\n`)
  writeFileSync(join(home, 'plugins'), '[].\n')
  writeFileSync(join(home, 'environment'), '')
  return {
    ...process.env,
    HOME: home,
    ERL_EPMD_PORT: `${mapperPort}`,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `demo${port}@localhost`,
    RABBITMQ_DIST_PORT: `${distributionPort}`,
    RABBITMQ_MNESIA_BASE: join(home, 'data'),
    RABBITMQ_LOG_BASE: join(home, 'log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_CONFIG_FILE: join(home, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: join(home, 'environment'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, 'plugins'),
    // Has the start script replaced by the server itself, so that signals reach it.
    RUNNING_UNDER_SYSTEMD: '1',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-noinput -kernel inet_dist_use_interface {127,0,0,1}',
  }
}

/** Starts a PostgreSQL server with an empty database on a free port of this machine. */
export async function postgresServer(dir: string, guard: Guard): Promise<PrivateServer> {
  const home = join(dir, 'postgres')
  mkdirSync(home)
  const account = postgresAccount()
  if (account !== undefined) {
    chownSync(home, account.uid, account.gid)
    chmodSync(dir, 0o711)
  }
  const folders = postgresFolders()
  const [command, initdb, ready] = [programOf('postgres', folders, true), programOf('initdb', folders, true), programOf('pg_isready', folders)]
  const port = await freePort()
  const data = join(home, 'data')
  await run(initdb, ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync'], { ...account, cwd: home })
  return await started(`postgres://postgres@127.0.0.1:${port}/postgres`, {
    name: 'postgres', command, args: ['-D', data, '-p', `${port}`, '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${home}`], dir: home, env: process.env, guard, port, account,
    isReady: () => run(ready, ['-q', '-h', '127.0.0.1', '-p', `${port}`]).then(() => true, () => false),
    // Fast shutdown; the default waits for every client to go away.
    stopSignal: 'SIGINT',
    tooEarly: /pre-existing shared memory block|lock file "postmaster.pid" already exists/,
  })
}

/** PostgreSQL refuses to run as root: there it gets the account that its package made. */
function postgresAccount(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** Debian keeps each major version in its own folder, outside the PATH; newest first. */
function postgresFolders(): readonly string[] {
  const root = '/usr/lib/postgresql'
  try {
    return readdirSync(root).toSorted((a, b) => Number(b) - Number(a)).map((version) => join(root, version, 'bin'))
  } catch {
    return []
  }
}
