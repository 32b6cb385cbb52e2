import type { Clock } from '../core/clock.ts'
import type { LoadAnnouncement } from './announced-states.ts'

/** An overload is forgotten after this time: who announced it may have died before it could take it back. */
const HELD_MS = 60_000
const ENTRIES_MAX = 10_000

/** What other instances have announced of their load, for callers that want to ask less of those who have too much. */
export class PeerLoads {
  /** Monotonic instants, by what is shed and then by instance. */
  readonly #shedding = new Map<string, Map<string, number>>()
  #count = 0
  #clock: Clock | undefined

  /** Instances that shed what is called so: a contract's type. */
  sheddingInstances(name: string): number {
    const instances = this.#shedding.get(name)
    const nowMs = this.#clock?.monotonicMs() ?? 0
    if (instances === undefined) return 0
    for (const [instance, atMs] of instances) if (nowMs - atMs >= HELD_MS) this.#forget(name, instance)
    return instances.size
  }

  /** True where some instance does: what can wait should. */
  isShedding(name: string): boolean {
    return this.sheddingInstances(name) > 0
  }

  /** Hears an announcement. */
  heard({ name, instance, state }: LoadAnnouncement, clock: Clock): void {
    this.#clock = clock
    this.#forget(name, instance)
    if (state === 'normal' || this.#count >= ENTRIES_MAX) return
    const instances = this.#shedding.get(name) ?? new Map<string, number>()
    this.#shedding.set(name, instances.set(instance, clock.monotonicMs()))
    this.#count++
  }

  #forget(name: string, instance: string): void {
    const instances = this.#shedding.get(name)
    if (instances?.delete(instance) !== true) return
    this.#count--
    if (instances.size === 0) this.#shedding.delete(name)
  }
}
