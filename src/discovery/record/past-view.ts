import type { RecordedOf } from '../../store/recorded.ts'
import type { InstanceState } from '../directory-state.ts'
import { DirectoryRecorded, InstanceRecorded, type PastInstance, RecordKept, RecordLeft } from './record-contracts.ts'

/** Everything that stands in the record. */
export const RECORDED: readonly [typeof InstanceRecorded, typeof DirectoryRecorded, typeof RecordKept, typeof RecordLeft] = [InstanceRecorded, DirectoryRecorded, RecordKept, RecordLeft]

/** An event of the record as it was read back. */
export type RecordEntry = RecordedOf<(typeof RECORDED)[number]>

/** When it was seen, by the database's wall clock in milliseconds. */
export function seenAtMs({ data, storedAtMs }: RecordEntry): number {
  return storedAtMs - ('agoMs' in data ? data.agoMs : 0)
}

/**
 * Who was there after these events, by instance name: from the last whole statement on.
 *
 * @param entries in the order of the stream, without gaps.
 * @returns undefined where no statement is whole.
 */
export function foldRecord(entries: readonly RecordEntry[]): ReadonlyMap<string, PastInstance> | undefined {
  let known: Map<string, PastInstance> | undefined
  let stating: { readonly of: number; next: number; readonly rows: Map<string, PastInstance> } | undefined
  for (const { data } of entries) {
    if ('part' in data) {
      if (data.part === 0) stating = { of: data.parts, next: 0, rows: new Map() }
      // A statement that was broken off says nothing.
      if (stating?.next !== data.part || stating.of !== data.parts) stating = undefined
      if (stating === undefined) continue
      for (const row of data.instances) stating.rows.set(row.instance, row)
      stating.next++
      if (stating.next === stating.of) known = stating.rows
    } else {
      stating = undefined
      if ('change' in data) known?.set(data.instance.instance, data.instance)
    }
  }
  return known
}

/** Who was there at a time of the past, as the record has it. */
export class PastView {
  /** Milliseconds since 1970. */
  readonly atMs: number
  /** False where nobody recorded for a while round that time: it is then what was known last. */
  readonly isSure: boolean
  /** Why it is not sure. */
  readonly reason: string
  readonly #rows: readonly PastInstance[]

  constructor(atMs: number, rows: Iterable<PastInstance>, doubt: string | undefined) {
    this.atMs = atMs
    this.isSure = doubt === undefined
    this.reason = doubt ?? ''
    this.#rows = [...rows].toSorted((left, right) => (left.instance < right.instance ? -1 : 1))
  }

  /** As `Directory.instances`: those of a service in these states, by instance name. Default: `up` alone. */
  instances(service: string, states: readonly InstanceState[] = ['up']): readonly PastInstance[] {
    return this.all(states).filter((instance) => instance.service === service)
  }

  /** As `Directory.all`: those of all services in these states, by instance name. Default: all states; the gone ones for some minutes. */
  all(states?: readonly InstanceState[]): readonly PastInstance[] {
    return this.#rows.filter(({ state }) => states === undefined || states.includes(state))
  }
}
