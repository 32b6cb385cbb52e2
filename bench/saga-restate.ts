import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Server, createServer } from 'node:net'
import { createServer as createHttp2 } from 'node:http2'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import * as restate from '@restatedev/restate-sdk'
import { killAtExit, spareAtExit } from '../test/servers/watchdog.ts'

const START_MS_MAX = 60_000

/** A private server of Restate with its defaults, and a service whose handler has three durable steps. */
export class RestateCrew {
  readonly #server: ChildProcess
  readonly #endpoint: { close(): void }
  readonly #ingress: string
  readonly #dir: string

  private constructor(server: ChildProcess, endpoint: { close(): void }, ingress: string, dir: string) {
    this.#server = server
    this.#endpoint = endpoint
    this.#ingress = ingress
    this.#dir = dir
  }

  static async start(): Promise<RestateCrew> {
    const [service, ingress, admin, node] = await Promise.all([freePort(), freePort(), freePort(), freePort()])
    const fulfilment = restate.service({
      name: 'fulfilment',
      handlers: {
        run: async (context: restate.Context, order: { readonly orderId: string; readonly cents: number }) => {
          for (const step of ['reserve', 'charge', 'ship']) await context.run(step, () => order)
        },
      },
    })
    const endpoint = createHttp2(restate.createEndpointHandler({ services: [fulfilment], logger: () => {} }))
    await new Promise<void>((resolve) => endpoint.listen(service, '127.0.0.1', resolve))
    const dir = mkdtempSync(join(tmpdir(), 'trunkline-restate-'))
    const server = spawn(serverPath(), ['--base-dir', dir, '--node-name', 'bench'], {
      cwd: dir,
      env: {
        ...process.env, DO_NOT_TRACK: '1', RESTATE_LOG_FILTER: 'error', RESTATE_LISTEN_MODE: 'tcp', RESTATE_BIND_IP: '127.0.0.1',
        RESTATE_BIND_PORT: `${node}`, RESTATE_BIND_ADDRESS: `127.0.0.1:${node}`, RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${node}/`,
        RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`, RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
      },
      stdio: 'ignore',
    })
    if (server.pid !== undefined) killAtExit(server.pid)
    const crew = new RestateCrew(server, endpoint, `http://127.0.0.1:${ingress}`, dir)
    await until(() => posted(`http://127.0.0.1:${admin}/deployments`, { uri: `http://127.0.0.1:${service}` }))
    await until(() => posted(`${crew.#ingress}/fulfilment/run`, { orderId: 'first', cents: 0 }))
    return crew
  }

  /** Runs one workflow to its end. */
  async call(index: number): Promise<void> {
    if (!(await posted(`${this.#ingress}/fulfilment/run`, { orderId: `o-${index}`, cents: index }))) throw new Error('Restate did not answer')
  }

  async close(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#server.once('exit', () => resolve()))
    this.#server.kill('SIGKILL')
    await gone
    if (this.#server.pid !== undefined) spareAtExit(this.#server.pid)
    this.#endpoint.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

/** The binary that npm has brought for this machine. */
function serverPath(): string {
  const here = createRequire(import.meta.url)
  const launcher = createRequire(here.resolve('@restatedev/restate-server/package.json'))
  return join(dirname(launcher.resolve(`@restatedev/restate-server-${process.platform}-${process.arch}/package.json`)), 'bin', 'restate-server')
}

async function posted(url: string, body: object): Promise<boolean> {
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  await answer.arrayBuffer()
  return answer.ok
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + START_MS_MAX
  while (!(await holds().catch(() => false))) {
    if (performance.now() > endMs) throw new Error('Restate did not start')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

function freePort(): Promise<number> {
  const server: Server = createServer()
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    server.close(() => resolve(port))
  }))
}
