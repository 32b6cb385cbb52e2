import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, DeadLetterRecord, TransportHost } from '../../bus/port.ts'
import { decodeDeadLetterRecord, encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import type { EsdbProposed } from './eventstoredb-client.ts'
import { copyOf, markOf, messageOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbLedger } from './eventstoredb-ledger.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import type { EsdbNames } from './eventstoredb-names.ts'
import type { EsdbPublisher } from './eventstoredb-publisher.ts'

const REMOVE_TRIES_MAX = 50

/** What is remembered of a dead letter without its message. */
interface Indexed {
  readonly group: string
  readonly type: string
  readonly reason: string
  readonly laneId: string | undefined
}

/** Where a dead letter belongs. */
export interface Burial {
  readonly kind: 'event' | 'command'
  readonly group: string
  /** Of an ordered group: its lane, and the id that the lane knows it by. */
  readonly lane?: { readonly number: number; readonly id: string }
}

/**
 * The dead letters of all groups, in a stream of our own that keeps the whole reason: the server's parked messages keep none, and replaying them
 * would be the only way to take one out. Reading changes nothing. The first look of a process reads the stream, later ones what was added.
 */
export class EsdbDeadLetters implements DeadLetterPlane {
  readonly #link: EsdbLink
  readonly #host: TransportHost
  readonly #names: EsdbNames
  readonly #publisher: EsdbPublisher
  readonly #ledger: EsdbLedger
  readonly #index = new Map<bigint, Indexed>()

  constructor(link: EsdbLink, host: TransportHost, names: EsdbNames, publisher: EsdbPublisher) {
    this.#link = link
    this.#host = host
    this.#names = names
    this.#publisher = publisher
    this.#ledger = new EsdbLedger(link, names.dead, {
      onEntry: (event) => {
        const { reason } = decodeDeadLetterRecord(markOf(event, 'record'))
        this.#index.set(event.revision, { group: markOf(event, 'group') ?? '', type: messageOf(event).type, reason, laneId: markOf(event, 'lane-id') })
      },
      onRemoved: (revision) => this.#index.delete(revision),
    })
  }

  /** Stores a dead letter; idempotent. @throws as `EsdbPublisher.store`. */
  async bury(event: EsdbEvent, record: DeadLetterRecord, { kind, group }: Burial): Promise<void> {
    const marks = { kind, group, record: encodeDeadLetterRecord(record) }
    await this.#publisher.store(this.#names.dead, copyOf(derivedId(event.id, group, 'dead'), event, marks), event.body.length + marks.record.length)
  }

  /** Stores a dead letter that a lane holds its key for; idempotent by the lane's id. `copy` makes the event from its id and marks. */
  async buryHeld(
    copy: (id: string, marks: Readonly<Record<string, string>>) => EsdbProposed,
    bytes: number,
    record: DeadLetterRecord,
    { kind, group, lane }: Burial,
  ): Promise<void> {
    const laneId = lane?.id ?? ''
    await this.#refresh()
    if ([...this.#index.values()].some((letter) => letter.laneId === laneId)) return
    const marks = { kind, group, record: encodeDeadLetterRecord(record), lane: `${lane?.number ?? 0}`, 'lane-id': laneId }
    await this.#publisher.store(this.#names.dead, copy(derivedId(group, laneId, 'dead'), marks), bytes + marks.record.length)
  }

  async list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    await this.#refresh()
    const after = revisionOf(options.after ?? '') ?? -1n
    const wanted = [...this.#index].filter(([revision, letter]) => revision > after && fits(letter, filter)).map(([revision]) => revision)
    const found = await Promise.all(wanted.slice(0, options.limit).map((revision) => this.#readOne(revision)))
    const items = found.flatMap((event) => (event === undefined ? [] : [letterOf(event)]))
    return { items, next: wanted.length > options.limit ? `${wanted[options.limit - 1] ?? after}` : undefined }
  }

  async read(id: string): Promise<DeadLetter | undefined> {
    const event = await this.#find(id)
    return event === undefined ? undefined : letterOf(event)
  }

  async redrive(id: string): Promise<boolean> {
    const event = await this.#find(id)
    if (event === undefined) return false
    const { kind, group, lane } = burialOf(event)
    // Stored first, removed then: a crash in between leaves both, and the copy's id makes a second redrive harmless.
    if (lane === undefined) {
      const copy = copyOf(derivedId(this.#names.dead, id), event, { attempts: '0', redriven: 'true' })
      await this.#publisher.store(this.#names.ready(kind, group), copy, event.body.length)
    } else await this.#wish({ kind, group, lane }, 'redrive')
    return await this.#remove(event.revision)
  }

  async remove(id: string): Promise<boolean> {
    const event = await this.#find(id)
    if (event === undefined) return false
    const { kind, group, lane } = burialOf(event)
    if (lane !== undefined) await this.#wish({ kind, group, lane }, 'remove')
    return await this.#remove(event.revision)
  }

  /** The key is held in a lane: its owner acts on the wish, whenever there is one. */
  async #wish({ kind, group, lane }: Burial, control: 'redrive' | 'remove'): Promise<void> {
    const wish = { lane: lane?.number ?? 0, target: lane?.id ?? '', control }
    const id = derivedId(group, wish.target, control)
    await this.#publisher.store(this.#names.wishes(kind, group), recordOf(id, '-wish', { ...wish, id }), 0)
  }

  /** Takes it out at exactly the place that was read, so that one of several who try has done it. */
  async #remove(revision: bigint): Promise<boolean> {
    for (let tries = 1; tries <= REMOVE_TRIES_MAX; tries++) {
      await this.#refresh()
      if (!this.#index.has(revision)) return false
      const id = this.#host.random.id(this.#host.clock.nowMs())
      const result = await this.#ledger.append([this.#ledger.removal(id, [revision])], this.#ledger.last)
      if (result.kind === 'done') {
        await this.#refresh()
        await this.#ledger.truncate()
        return true
      }
      if (result.failure.kind !== 'wrong-revision' && result.failure.kind !== 'unknown' && result.failure.kind !== 'not-leader') throw lost(result.failure)
      await sleep(this.#host.clock, this.#host.random.next() * 10 * tries, this.#link.closed)
    }
    throw new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem: 'a dead letter could not be removed' })
  }

  async #find(id: string): Promise<EsdbEvent | undefined> {
    const revision = revisionOf(id)
    if (revision === undefined) return undefined
    await this.#refresh()
    return this.#index.has(revision) ? await this.#readOne(revision) : undefined
  }

  async #readOne(revision: bigint): Promise<EsdbEvent | undefined> {
    const result = await this.#ledger.readOne(revision)
    if (result.kind === 'failed') throw lost(result.failure)
    return result.value
  }

  async #refresh(): Promise<void> {
    const failure = await this.#ledger.refresh()
    if (failure !== undefined) throw lost(failure)
  }
}

function fits({ group, type, reason }: Indexed, filter: DeadLetterFilter): boolean {
  return (filter.group ?? group) === group && (filter.type ?? type) === type && (filter.reason ?? reason) === reason
}

function burialOf(event: EsdbEvent): Burial {
  const [lane, id] = [markOf(event, 'lane'), markOf(event, 'lane-id')]
  return {
    kind: markOf(event, 'kind') === 'command' ? 'command' : 'event',
    group: markOf(event, 'group') ?? '',
    ...(lane === undefined || id === undefined ? {} : { lane: { number: Number(lane), id } }),
  }
}

function letterOf(event: EsdbEvent): DeadLetter {
  const { kind, group, lane } = burialOf(event)
  return {
    id: `${event.revision}`, group, kind, message: messageOf(event), record: decodeDeadLetterRecord(markOf(event, 'record')), holdsKey: lane !== undefined,
  }
}

function revisionOf(id: string): bigint | undefined {
  return /^\d{1,18}$/.test(id) ? BigInt(id) : undefined
}

function lost({ problem, cause }: { readonly problem: string; readonly cause: unknown }): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem }, { cause })
}
