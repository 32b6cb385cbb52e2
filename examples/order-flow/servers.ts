import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Guard } from './guard.ts'

const START_MS_MAX = 60_000
const STOP_MS_MAX = 10_000

/** A broker that belongs to this run of the demo. */
export interface PrivateServer {
  readonly url: string
  /** Stops it; its data lies in the demo's folder and goes with that. */
  close(): Promise<void>
}

/** Starts a NATS server with JetStream on a free port of this machine. */
export async function natsServer(dir: string, guard: Guard): Promise<PrivateServer> {
  const command = programOf('nats-server', ['/usr/sbin', '/usr/local/bin'])
  const port = await freePort()
  const config = join(dir, 'nats.conf')
  writeFileSync(config, `listen: 127.0.0.1:${port}\njetstream { store_dir: ${JSON.stringify(join(dir, 'jetstream'))} }\n`)
  const server = new Program('nats-server', command, ['-c', config], { dir, env: process.env, guard })
  await server.ready(port)
  return { url: `nats://127.0.0.1:${port}`, close: () => server.stop() }
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
  const mapper = new Program('epmd', programOf('epmd', ['/usr/bin', '/usr/lib/erlang/bin']), ['-port', `${mapperPort}`, '-address', '127.0.0.1'], { dir, env, guard })
  try {
    await mapper.ready(mapperPort)
    const server = new Program('rabbitmq-server', command, [], { dir: home, env, guard })
    await server.ready(port)
    return {
      url: `amqp://guest:guest@127.0.0.1:${port}`,
      async close() {
        await server.stop()
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

interface ProgramOptions {
  readonly dir: string
  readonly env: NodeJS.ProcessEnv
  readonly guard: Guard
}

/** A program of the machine that runs as long as the demo. */
class Program {
  readonly #name: string
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly #logFile: string
  #isRunning = true

  constructor(name: string, command: string, args: readonly string[], { dir, env, guard }: ProgramOptions) {
    this.#name = name
    this.#logFile = join(dir, `${name}.log`)
    const log = openSync(this.#logFile, 'a')
    // Out of the reach of Ctrl-C: the services still need it while they stop.
    this.#child = spawn(command, args, { cwd: dir, env, stdio: ['ignore', log, log], detached: true })
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', resolve)
      this.#child.once('error', resolve)
    }).then(() => (this.#isRunning = false))
    if (this.#child.pid !== undefined) guard.watch(this.#child.pid)
  }

  /** Waits until the program takes connections. */
  async ready(port: number): Promise<void> {
    const endAtMs = performance.now() + START_MS_MAX
    while (!(await accepts(port))) {
      if (this.#isRunning && performance.now() < endAtMs) await delay(50)
      else {
        await this.stop('SIGKILL')
        throw new Error(`${this.#name} did not start. Its log ends with:\n${readFileSync(this.#logFile, 'utf8').slice(-2_000)}`)
      }
    }
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!this.#isRunning) return
    this.#child.kill(signal)
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(late)
  }
}

function programOf(name: string, folders: readonly string[], isFolderFirst = false): string {
  const path = (process.env['PATH'] ?? '').split(delimiter)
  const found = (isFolderFirst ? [...folders, ...path] : [...path, ...folders]).map((folder) => join(folder, name)).find((file) => existsSync(file))
  if (found === undefined) {
    throw new Error(`${name} is not installed. On Debian or Ubuntu: apt-get install ${name === 'epmd' ? 'rabbitmq-server' : name}. Or name a running broker with --url`)
  }
  return found
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const end = (isOpen: boolean): void => {
      socket.destroy()
      resolve(isOpen)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
    socket.setTimeout(1_000, () => end(false))
  })
}
