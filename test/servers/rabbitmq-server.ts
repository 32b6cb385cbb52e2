import { execFile, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './free-port.ts'
import { requireBinary } from './server-binary.ts'
import { acceptsConnections, credentialsOf, privateFolder, ServerProcess, type ServerOptions } from './server-process.ts'
import { until } from './until.ts'
import { killAtExit, spareAtExit } from './watchdog.ts'

const run = promisify(execFile)

// The script itself. Debian's wrapper in the PATH changes the user and forgets the environment.
const SCRIPTS = ['/usr/lib/rabbitmq/bin/rabbitmq-server', '/usr/local/lib/rabbitmq/sbin/rabbitmq-server']

/** A private RabbitMQ server with two things that only this broker needs. */
export class RabbitmqServer extends ServerProcess {
  readonly #node: string
  readonly #env: NodeJS.ProcessEnv
  readonly #ctl: string

  constructor(plan: ConstructorParameters<typeof ServerProcess>[0], node: string, env: NodeJS.ProcessEnv, ctl: string) {
    super(plan)
    this.#node = node
    this.#env = env
    this.#ctl = ctl
  }

  /**
   * Restarts in order, so that quorum queues declared just now are known to the disk. Without it
   * 3.10 can bring such a queue back empty and dead after a SIGKILL: call it between declaring and
   * publishing in every test that kills the broker. All clients lose their connections.
   */
  async settleTopology(): Promise<void> {
    await this.restart()
  }

  /** Runs `rabbitmqctl` against this server and resolves with its output: `await server.ctl('list_queues')`. Takes about a second. */
  async ctl(...args: readonly string[]): Promise<string> {
    const { stdout } = await run(this.#ctl, ['--quiet', '-n', this.#node, ...args], { env: this.#env, cwd: this.dir, timeout: 30_000 })
    return stdout
  }
}

/** Prepares a private RabbitMQ server without plugins; call `start()`, which takes about four seconds. */
export async function rabbitmqServer(options: ServerOptions = {}): Promise<RabbitmqServer> {
  const command = requireBinary('rabbitmq-server', 'rabbitmq-server', SCRIPTS)
  const epmd = requireBinary('epmd', 'erlang-base')
  const [port, distPort, epmdPort] = [await freePort(), await freePort(), await freePort()]
  const dir = privateFolder('rabbitmq')
  const node = `trunkline${port}@localhost`
  const env = environment(dir, node, distPort, epmdPort)
  writeFileSync(join(dir, 'enabled_plugins'), '[].\n')
  writeFileSync(join(dir, 'env.conf'), '')
  writeFileSync(join(dir, 'rabbitmq.conf'), configuration(options, port))
  const stopPortMapper = await startPortMapper(epmd, epmdPort, env)
  return new RabbitmqServer(
    {
      name: 'rabbitmq-server',
      port,
      url: `${options.tls === undefined ? 'amqp' : 'amqps'}://${credentialsOf({ user: 'guest', password: 'guest', ...options })}127.0.0.1:${port}`,
      dir,
      command,
      args: [],
      env,
      stopSignal: 'SIGTERM',
      startMs: 60_000,
      ready: () => acceptsConnections(port),
      cleanUp: stopPortMapper,
    },
    node,
    env,
    requireBinary('rabbitmqctl', 'rabbitmq-server', [join(dirname(command), 'rabbitmqctl')]),
  )
}

function environment(dir: string, node: string, distPort: number, epmdPort: number): NodeJS.ProcessEnv {
  mkdirSync(join(dir, 'log'))
  return {
    ...process.env,
    HOME: dir,
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: node,
    // Otherwise the client port plus 20000, which may belong to somebody else.
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
    RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq'),
    RABBITMQ_CONF_ENV_FILE: join(dir, 'env.conf'),
    // Makes the script exec the Erlang VM: signals, SIGKILL above all, must reach it and not a shell.
    RUNNING_UNDER_SYSTEMD: '1',
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-noinput -kernel inet_dist_use_interface {127,0,0,1}',
  }
}

function configuration(options: ServerOptions, port: number): string {
  const { tls, user, password = '' } = options
  const lines = ['loopback_users = none', 'disk_free_limit.absolute = 50MB', 'log.console = true', 'log.console.level = info', 'log.file = false']
  if (user !== undefined) lines.push(`default_user = ${user}`, `default_pass = ${password}`)
  if (tls === undefined) {
    lines.push(`listeners.tcp.1 = 127.0.0.1:${port}`)
  } else {
    lines.push('listeners.tcp = none', `listeners.ssl.1 = 127.0.0.1:${port}`)
    lines.push(`ssl_options.certfile = ${tls.certFile}`, `ssl_options.keyfile = ${tls.keyFile}`)
    lines.push(`ssl_options.verify = ${tls.caFile === undefined ? 'verify_none' : 'verify_peer'}`)
    lines.push(`ssl_options.fail_if_no_peer_cert = ${tls.caFile === undefined ? 'false' : 'true'}`)
    if (tls.caFile !== undefined) lines.push(`ssl_options.cacertfile = ${tls.caFile}`)
  }
  return [...lines, ...(options.config ?? []), ''].join('\n')
}

/** Erlang's port mapper as our own child: left to itself, the VM starts one that outlives it. */
async function startPortMapper(epmd: string, port: number, env: NodeJS.ProcessEnv): Promise<() => void> {
  const child = spawn(epmd, ['-port', String(port), '-address', '127.0.0.1'], { env, stdio: 'ignore' })
  child.once('error', () => undefined)
  const { pid } = child
  if (pid !== undefined) {
    killAtExit(pid)
    child.once('exit', () => spareAtExit(pid))
  }
  child.unref()
  await until(() => acceptsConnections(port), { what: 'epmd being ready' })
  return () => child.kill('SIGKILL')
}
