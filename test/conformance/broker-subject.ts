import type { BrokerFaults, ConformancePlace, ConformanceSubject, ForeignMessage } from '../../src/testing/index.ts'
import { type TcpProxy, tcpProxy } from '../servers/tcp-proxy.ts'
import type { ServerProcess } from '../servers/server-process.ts'
import { type TransportSpec, openTransport } from './transport-spec.ts'
import { spawnWorker } from './worker-process.ts'

/** What the subjects of brokers differ in. */
export interface BrokerTechnology extends Pick<ConformanceSubject, 'name' | 'capabilities' | 'without'> {
  readonly server: () => Promise<ServerProcess>
  readonly spec: (url: string, namespace: string) => TransportSpec
  /** Left out where only this library writes to the broker. */
  readonly publishForeign?: (url: string, namespace: string, message: ForeignMessage) => Promise<void>
  /** See `BrokerFaults.settle`. */
  readonly settle: (server: ServerProcess) => Promise<void>
}

/** A subject with a private server behind a proxy. A namespace per case. Call `start` before and `close` after the cases. */
export class BrokerSubject implements ConformanceSubject {
  readonly name: string
  readonly capabilities: ConformanceSubject['capabilities']
  readonly without: NonNullable<ConformanceSubject['without']>
  readonly #technology: BrokerTechnology
  #server: ServerProcess | undefined
  #proxy: TcpProxy | undefined
  #places = 0

  constructor(technology: BrokerTechnology) {
    this.name = technology.name
    this.capabilities = technology.capabilities
    this.without = technology.without ?? {}
    this.#technology = technology
  }

  async start(): Promise<void> {
    this.#server = await this.#technology.server()
    await this.#server.start()
    this.#proxy = await tcpProxy(this.#server.url)
  }

  async close(): Promise<void> {
    await this.#proxy?.close()
    await this.#server?.close()
  }

  async place(): Promise<ConformancePlace> {
    const [server, proxy] = [this.#server, this.#proxy]
    if (server === undefined || proxy === undefined) throw new Error('the broker was not started')
    // A case that failed may have left it down.
    await server.start()
    proxy.heal()
    const namespace = `case-${++this.#places}`
    const { publishForeign, settle } = this.#technology
    const spec = this.#technology.spec(proxy.url, namespace)
    return {
      open: () => openTransport(spec),
      spawn: (settings) => spawnWorker(spec, settings),
      ...(publishForeign === undefined ? {} : { publishForeign: (message) => publishForeign(server.url, namespace, message) }),
      faults: faultsOf(server, proxy, settle),
      close: () => Promise.resolve(),
    }
  }
}

function faultsOf(server: ServerProcess, proxy: TcpProxy, settle: BrokerTechnology['settle']): BrokerFaults {
  return {
    restart: () => server.restart(),
    stop: () => server.stop(),
    kill: () => server.kill9(),
    start: () => server.start(),
    cutLinks: async () => proxy.cut(),
    halfOpen: async () => proxy.halfOpen(),
    heal: async () => proxy.heal(),
    settle: () => settle(server),
  }
}
