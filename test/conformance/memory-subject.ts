import { type MemoryBroker, memory, memoryBroker, memoryCapabilities } from '../../src/adapters/memory/index.ts'
import type { Transport } from '../../src/index.ts'
import { type ConformancePlace, type ConformanceSubject, type WorkerLine, type WorkerProcess, type WorkerSettings, runConformanceWorker } from '../../src/testing/index.ts'

/** The memory transport: a broker per case; a worker is a bus in this process, and its death cuts it off from the broker. */
export const memorySubject: ConformanceSubject = {
  name: 'memory',
  capabilities: memoryCapabilities,
  without: {
    faults: 'the broker lives inside the process: there is no link and no server',
    foreign: 'only this library can write to it',
  },
  place(): Promise<ConformancePlace> {
    const broker = memoryBroker()
    return Promise.resolve({
      open: () => memory({ broker }),
      spawn: (settings) => new MemoryWorker(broker, memory({ broker }), settings),
      close: () => Promise.resolve(),
    })
  },
}

/** A worker in this process. */
export class MemoryWorker implements WorkerProcess {
  readonly lines: WorkerLine[] = []
  readonly #broker: MemoryBroker
  #instance = ''
  isAlive = true

  constructor(broker: MemoryBroker, transport: Transport, settings: WorkerSettings) {
    this.#broker = broker
    const never = new Promise<never>(() => {})
    runConformanceWorker(transport, settings, {
      born: (instance) => {
        this.#instance = instance
      },
      say: (line) => {
        // A dead process says nothing more.
        if (this.isAlive) this.lines.push(line)
      },
      die: () => {
        this.#sever()
        return never
      },
    }).catch(() => {
      this.isAlive = false
    })
  }

  #sever(): void {
    this.isAlive = false
    this.#broker.sever(this.#instance)
  }

  kill(): Promise<void> {
    this.#sever()
    return Promise.resolve()
  }
}
