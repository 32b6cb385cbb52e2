import { Server, ServerCredentials, status, type sendUnaryData } from '@grpc/grpc-js'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { errorOf, exception, Faults } from './faults.ts'
import { DoubleLog } from './log.ts'
import { PersistentCalls } from './persistent-calls.ts'
import { features, gossips, GossipService, PersistentSubscriptionsService, ServerFeaturesService, shared, StreamsService } from './protos.ts'
import { Reads } from './reads.ts'
import { StreamCalls } from './stream-calls.ts'

/** How the double is run. */
export interface DoubleOptions {
  /** A free one where it is not given. */
  readonly port?: number
  /** Folder for a log that outlives the process; in memory alone where it is not given. */
  readonly dataDir?: string
  /** Each append is on the disk before it is answered. */
  readonly isSynced?: boolean
  /** What the server says that it can do: everything, everything but batch appends, or it does not know the question. Default `all`. */
  readonly features?: 'all' | 'classic' | 'unimplemented'
  /** False for a server before 23.10. Default true. */
  readonly saysCaughtUp?: boolean
  /** Pings of the server towards silent clients, in milliseconds. */
  readonly keepAliveMs?: number
}

const METHODS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'event_store.client.streams.streams': {
    read: ['position', 'events'], append: [], delete: [], tombstone: [], batchappend: ['deadline_duration'],
  },
  'event_store.client.persistent_subscriptions.persistentsubscriptions': {
    create: ['stream', 'all'], update: ['stream', 'all'], delete: ['stream', 'all'], read: ['stream', 'all'], getinfo: ['stream', 'all'],
    replayparked: ['stream', 'all'], list: ['stream', 'all'], restartsubsystem: [],
  },
}

/** A gRPC server that speaks the protocol of EventStoreDB as far as this project uses it. It is no database. */
export class EsdbDouble {
  readonly log: DoubleLog
  readonly faults: Faults = new Faults()
  readonly persistent: PersistentCalls
  readonly #server: Server
  #port = 0

  constructor(options: DoubleOptions) {
    if (options.dataDir !== undefined) mkdirSync(options.dataDir, { recursive: true })
    this.log = new DoubleLog({ ...(options.dataDir === undefined ? {} : { file: join(options.dataDir, 'log.jsonl') }), isSynced: options.isSynced ?? false })
    this.persistent = new PersistentCalls(this.log, this.faults)
    const keepAliveMs = options.keepAliveMs ?? 10_000
    this.#server = new Server({
      'grpc.keepalive_time_ms': keepAliveMs, 'grpc.keepalive_timeout_ms': keepAliveMs, 'grpc.max_receive_message_length': 16 * 1024 * 1024,
    })
    this.#serve(options)
  }

  get port(): number {
    return this.#port
  }

  /** For a client. */
  get connectionString(): string {
    return `esdb://127.0.0.1:${this.#port}?tls=false`
  }

  async start(port: number): Promise<void> {
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound)
        else reject(error)
      })
    })
  }

  /** Destroys the connections; new ones are accepted. */
  killConnections(): void {
    this.#server.drain(`127.0.0.1:${this.#port}`, 0)
  }

  async close(): Promise<void> {
    this.persistent.close()
    this.faults.thaw()
    this.#server.forceShutdown()
    this.log.close()
    await Promise.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #serve(options: DoubleOptions): void {
    const writes = new StreamCalls(this.log, this.faults)
    const reads = new Reads(this.log, this.faults, { saysCaughtUp: options.saysCaughtUp ?? true })
    const offered = options.features ?? 'all'
    this.#server.addService(StreamsService, {
      append: writes.append.bind(writes),
      batchAppend: writes.batchAppend.bind(writes),
      delete: writes.delete.bind(writes),
      tombstone: writes.tombstone.bind(writes),
      read: reads.read.bind(reads),
    })
    const { persistent } = this
    this.#server.addService(PersistentSubscriptionsService, {
      create: persistent.create.bind(persistent),
      update: persistent.update.bind(persistent),
      delete: persistent.delete.bind(persistent),
      read: persistent.read.bind(persistent),
      getInfo: persistent.getInfo.bind(persistent),
      list: persistent.list.bind(persistent),
      replayParked: persistent.replayParked.bind(persistent),
    })
    this.#server.addService(ServerFeaturesService, {
      getSupportedMethods: (_call: unknown, answer: sendUnaryData<InstanceType<typeof features.SupportedMethods>>) => void this.#features(offered, answer),
    })
    this.#server.addService(GossipService, {
      read: (_call: unknown, answer: sendUnaryData<InstanceType<typeof gossips.ClusterInfo>>) => void this.#gossip(answer),
    })
  }

  async #features(offered: DoubleOptions['features'], answer: sendUnaryData<InstanceType<typeof features.SupportedMethods>>): Promise<void> {
    const fault = await this.faults.meet('features')
    if (fault?.kind === 'stall' || fault?.kind === 'dropReply') return
    if (fault?.kind === 'status') return answer(errorOf(fault))
    if (offered === 'unimplemented') return answer(exception(status.UNIMPLEMENTED, ''))
    const methods = Object.entries(METHODS).flatMap(([service, names]) =>
      Object.entries(names)
        .filter(([name]) => offered !== 'classic' || name !== 'batchappend')
        .map(([name, list]) => new features.SupportedMethod().setServiceName(service).setMethodName(name).setFeaturesList([...list])),
    )
    answer(null, new features.SupportedMethods().setMethodsList(methods).setEventStoreServerVersion('23.10.8'))
  }

  async #gossip(answer: sendUnaryData<InstanceType<typeof gossips.ClusterInfo>>): Promise<void> {
    const fault = await this.faults.meet('gossip')
    if (fault?.kind === 'stall' || fault?.kind === 'dropReply') return
    if (fault?.kind === 'status') return answer(errorOf(fault))
    const member = new gossips.MemberInfo()
    member.setInstanceId(new shared.UUID().setString(crypto.randomUUID())).setTimeStamp('0').setState(gossips.MemberInfo.VNodeState.LEADER).setIsAlive(true)
    member.setHttpEndPoint(new gossips.EndPoint().setAddress('127.0.0.1').setPort(this.#port))
    answer(null, new gossips.ClusterInfo().setMembersList([member]))
  }
}

/** Starts a double. */
export async function esdbDouble(options: DoubleOptions = {}): Promise<EsdbDouble> {
  const double = new EsdbDouble(options)
  await double.start(options.port ?? 0)
  return double
}
