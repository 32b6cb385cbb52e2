import type { Beat, FullAnnouncement, InstanceInfo } from '../../src/discovery/announcement.ts'
import type { AnnouncementKind } from '../../src/discovery/announcement-contracts.ts'
import type { DirectoryAction, DirectoryEvent } from '../../src/discovery/directory-events.ts'
import { type DirectoryInput, foldDirectory } from '../../src/discovery/directory-fold.ts'
import { type DirectoryState, type InstanceState, emptyDirectory, instanceOf } from '../../src/discovery/directory-state.ts'

export const BEAT_MS = 4_000

export function info(over: Partial<InstanceInfo> = {}): InstanceInfo {
  return { version: '1.0.0', addresses: { bus: 'inbox' }, weight: 1, tags: [], startedAt: '2026-01-01T00:00:00.000Z', accepts: [], sends: [], ...over }
}

export function announcement(instance: string, over: Partial<FullAnnouncement> = {}): FullAnnouncement {
  return {
    service: 'stock', instance, process: `${instance}-process`, address: `inbox.${instance}`, incarnation: 1, seq: 1, beatMs: BEAT_MS, phase: 'up', health: 'up', reasons: [],
    inFlight: 0, loopDelayMs: 0, infoRevision: 1, size: 1, info: info(), ...over,
  }
}

/** One reader with others that announce themselves when they are told to. */
export class Reader {
  readonly state: DirectoryState
  readonly events: DirectoryEvent[] = []
  readonly actions: DirectoryAction[] = []
  readonly #seqs = new Map<string, number>()
  isLinked = true
  hearsItself = true
  nowMs = 1_000

  constructor(own = 'me') {
    this.state = emptyDirectory({ instance: own, process: `${own}-process` }, this.nowMs)
    const full = announcement(own, { service: 'reader' })
    this.fold({ kind: 'said', beat: full, info: full.info })
  }

  fold(input: DirectoryInput): void {
    const { events, actions } = foldDirectory(this.state, input, this.nowMs)
    this.events.push(...events)
    this.actions.push(...actions)
  }

  /** The next announcement of an instance. */
  hear(instance: string, about: AnnouncementKind = 'alive', over: Partial<FullAnnouncement> = {}): void {
    const seq = over.seq ?? (this.#seqs.get(instance) ?? 0) + 1
    this.#seqs.set(instance, seq)
    const { info: details, ...beat } = announcement(instance, { ...over, seq })
    this.fold({ kind: 'heard', about, beat, info: about === 'started' || about === 'changed' ? details : undefined })
  }

  /** Lets time go by in ticks; `alive` says who announces itself every `BEAT_MS`, `answers` what comes of probes. */
  pass(ms: number, alive: readonly string[] = [], answers: (instance: string) => 'refused' | 'silent' | 'answered' | 'pending' = () => 'silent'): void {
    for (let atMs = 0; atMs < ms; atMs += 1_000) {
      this.nowMs += 1_000
      if (this.nowMs % BEAT_MS === 0) {
        if (this.hearsItself) this.hearSelf()
        for (const instance of alive) this.hear(instance)
      }
      this.fold({ kind: 'tick', isLinked: this.isLinked })
      for (const action of this.actions.splice(0)) if (action.kind === 'probe') this.#probed(action.instance, answers(action.instance))
    }
  }

  #probed(instance: string, outcome: 'refused' | 'silent' | 'answered' | 'pending'): void {
    if (outcome === 'pending') return
    const beat: Beat = announcement(instance, { seq: this.#seqs.get(instance) ?? 1 })
    if (outcome === 'answered') this.fold({ kind: 'answered', beat, info: info() })
    else this.fold({ kind: 'unanswered', instance, because: outcome })
  }

  hearSelf(): void {
    this.fold({ kind: 'heard', about: 'alive', beat: announcement(this.state.self) })
  }

  /** `instance state`, by name, the reader itself left out. */
  get standing(): Readonly<Record<string, InstanceState>> {
    return Object.fromEntries([...this.state.members.values()].filter(({ beat }) => beat.instance !== this.state.self).map((member) => [member.beat.instance, instanceOf(this.state, member).state]))
  }

  /** `kind instance` of what was told, and forgets it. */
  told(): readonly string[] {
    return this.events.splice(0).map((event) => ('instance' in event ? `${event.kind} ${typeof event.instance === 'string' ? event.instance : event.instance.instance}` : event.kind))
  }
}
