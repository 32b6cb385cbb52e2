import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from './free-port.ts'
import { requireBinary } from './server-binary.ts'
import { credentialsOf, privateFolder, ServerProcess, type ServerOptions } from './server-process.ts'

/** Options of a private NATS server. */
export interface NatsServerOptions extends ServerOptions {
  /** False starts it without JetStream; true where it is not given. */
  readonly hasJetStream?: boolean
}

/** Prepares a private NATS server; call `start()`. */
export async function natsServer(options: NatsServerOptions = {}): Promise<ServerProcess> {
  const command = requireBinary('nats-server', 'nats-server')
  const [port, monitorPort] = [await freePort(), await freePort()]
  const dir = privateFolder('nats')
  const configFile = join(dir, 'nats.conf')
  writeFileSync(configFile, configuration(options, port, monitorPort, dir))
  const health = `http://127.0.0.1:${monitorPort}/healthz${options.hasJetStream === false ? '' : '?js-enabled-only=true'}`
  return new ServerProcess({
    name: 'nats-server',
    port,
    url: `${options.tls === undefined ? 'nats' : 'tls'}://${credentialsOf(options)}127.0.0.1:${port}`,
    dir,
    command,
    args: ['-c', configFile],
    stopSignal: 'SIGTERM',
    startMs: 15_000,
    ready: async () => (await fetch(health, { signal: AbortSignal.timeout(2_000) })).ok,
  })
}

function configuration(options: NatsServerOptions, port: number, monitorPort: number, dir: string): string {
  const { tls, user, password = '' } = options
  const lines = [`listen: "127.0.0.1:${port}"`, `http: "127.0.0.1:${monitorPort}"`]
  if (options.hasJetStream !== false) lines.push(`jetstream { store_dir: "${join(dir, 'jetstream')}", max_mem: 64MB, max_file: 2GB }`)
  if (user !== undefined) lines.push(`authorization { user: ${JSON.stringify(user)}, password: ${JSON.stringify(password)} }`)
  if (tls !== undefined) {
    const clients = tls.caFile === undefined ? '' : `, ca_file: "${tls.caFile}", verify: true`
    lines.push(`tls { cert_file: "${tls.certFile}", key_file: "${tls.keyFile}"${clients} }`)
  }
  return [...lines, ...(options.config ?? []), ''].join('\n')
}
