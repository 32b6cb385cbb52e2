import { type MemoryDatabase, memoryDatabase, memoryStore } from '../../../src/adapters/memory/index.ts'
import type { Bus } from '../../../src/index.ts'
import {
  DirectoryRecorded, type Directory, type DiscoveryOptions, InstanceRecorded, RecordKept, RecordLeft, type RecordEvents, type RecordOptions, discovery,
} from '../../../src/discovery/index.ts'
import { BusRig } from '../../bus/bus-rig.ts'
import { MortalTransport } from '../mortal-transport.ts'

/** How a node's way to the store fails. */
export type StoreFault = 'none' | 'hangs' | 'refused' | 'answer lost'

/** One instance that may record, and whose process and store can fail. */
export class RecordingNode {
  readonly directory: Directory
  readonly bus: Bus
  readonly #mortal: MortalTransport
  readonly #back: (() => void)[] = []
  fault: StoreFault = 'none'

  constructor(rig: RecordRig, service: string, options: DiscoveryOptions, record: Partial<RecordOptions>) {
    const store = memoryStore({ database: rig.database })
    this.#mortal = new MortalTransport(rig.broker)
    this.directory = discovery({ ...options, record: { events: this.#bent(store.events), ...record } })
    this.bus = rig.bus({ service: { name: service, version: '1.2.0' }, transport: this.#mortal.transport, outbox: store.outbox, discovery: this.directory })
  }

  #bent(events: RecordEvents): RecordEvents {
    const failed = async (): Promise<void> => {
      if (this.fault === 'hangs') await new Promise<void>((resolve) => this.#back.push(resolve))
      if (this.fault === 'refused') throw Object.assign(new Error('the store is away'), { code: 'ECONNREFUSED' })
    }
    return {
      append: async (...given) => {
        await failed()
        const appended = await events.append(...given)
        if (this.fault === 'answer lost') throw new Error('the answer was lost')
        return appended
      },
      read: (selection, contracts, options) => reading(failed, () => events.read(selection, contracts, options)),
      setMetadata: async (...given) => await events.setMetadata(...given),
    }
  }

  /** What hung goes on. */
  heal(): void {
    this.fault = 'none'
    for (const resolve of this.#back.splice(0)) resolve()
  }

  /** As SIGKILL does: neither the others nor the store hear of it again. */
  async die(): Promise<void> {
    this.fault = 'hangs'
    await this.#mortal.die()
  }
}

async function *reading<T>(before: () => Promise<void>, read: () => AsyncGenerator<T, void, undefined>): AsyncGenerator<T, void, undefined> {
  await before()
  yield* read()
}

/** Instances on one broker and one database. */
export class RecordRig extends BusRig {
  readonly database: MemoryDatabase = memoryDatabase()
  readonly #nodes: RecordingNode[] = []

  node(service: string, options: DiscoveryOptions = {}, record: Partial<RecordOptions> = {}): RecordingNode {
    const node = new RecordingNode(this, service, options, record)
    this.#nodes.push(node)
    return node
  }

  /** Starts nodes and lets a second go by. */
  async start(...nodes: readonly RecordingNode[]): Promise<void> {
    const starting = Promise.all(nodes.map(({ bus }) => bus.start()))
    await this.clock.advance(1_000)
    await starting
  }

  async stop({ bus }: RecordingNode): Promise<void> {
    const stopping = bus.stop()
    await this.clock.advance(3_000)
    await stopping
  }

  /** What somebody reads while virtual time stands still. */
  async read<T>(reading: Promise<T>): Promise<T> {
    await this.clock.settle()
    return await reading
  }

  /** Everything in the record: who wrote it, and what. */
  async record(): Promise<readonly { readonly recorder: string; readonly what: string }[]> {
    const store = memoryStore({ database: this.database })
    const opening = store.open({ service: 'reading', clock: this.clock })
    await this.clock.settle()
    await opening
    const found: { readonly recorder: string; readonly what: string }[] = []
    for await (const { type, data } of store.events.read('discovery-record', [InstanceRecorded, DirectoryRecorded, RecordKept, RecordLeft])) {
      found.push({ recorder: data.recorder, what: 'change' in data ? `${data.instance.instance} ${data.change}` : type.slice('trunkline.'.length) })
    }
    const closing = store.close()
    await this.clock.advance(1_000)
    await closing
    return found
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes) node.heal()
    await super[Symbol.asyncDispose]()
  }
}
