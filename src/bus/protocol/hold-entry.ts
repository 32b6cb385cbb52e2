import type { WireMessage } from '../../core/envelope.ts'
import { decodeDeadLetterRecord, encodeDeadLetterRecord } from './dead-letter-record.ts'
import type { HoldEntry } from './lane-port.ts'

// How an entry of the hold list is written beside the headers of its message. The names are part of the wire format:
// an instance of another version may take the lane over.

const ROLE = 'trunkline-hold-role'
const ID = 'trunkline-hold-id'
const STATE = 'trunkline-hold-state'
const ATTEMPT = 'trunkline-hold-attempt'
const DUE = 'trunkline-hold-due'
const REDRIVEN = 'trunkline-hold-redriven'
const SUSPECT = 'trunkline-hold-suspect'
const RECORD = 'trunkline-hold-record'
const CONTROL = 'trunkline-hold-control'
const TARGET = 'trunkline-hold-target'

/**
 * Calls `set` with every header of an entry, its message's own headers apart. Names are lower case, values printable ASCII.
 * A control entry has no message: adapters send it with an empty body.
 */
export function writeHoldEntry(entry: HoldEntry, set: (name: string, value: string) => void): void {
  set(ROLE, entry.role)
  set(ID, entry.id)
  switch (entry.role) {
    case 'head':
      set(STATE, entry.state)
      set(ATTEMPT, `${entry.attempt}`)
      set(DUE, `${entry.dueAtMs}`)
      if (entry.isRedriven) set(REDRIVEN, 'true')
      if (entry.record !== undefined) set(RECORD, encodeDeadLetterRecord(entry.record))
      break
    case 'follower':
      set(ATTEMPT, `${entry.attempt}`)
      if (entry.isSuspect) set(SUSPECT, 'true')
      break
    case 'control':
      set(CONTROL, entry.control)
      set(TARGET, entry.target)
      break
  }
}

/**
 * Reads the entry that `writeHoldEntry` wrote beside `message`. It never throws.
 *
 * Undefined for what is no entry that this version knows: the adapter leaves it where it is and reports it, because it may
 * be a newer version's. Numbers that cannot be read become 0, a state that is unknown becomes `retry`.
 */
export function readHoldEntry(header: (name: string) => string | undefined, message: WireMessage): HoldEntry | undefined {
  const id = header(ID)
  if (id === undefined || id === '') return undefined
  const role = header(ROLE)
  if (role === 'head') return readHead(id, header, message)
  if (role === 'follower') return { role, id, message, attempt: countOf(header(ATTEMPT)), isSuspect: header(SUSPECT) === 'true' }
  return role === 'control' ? readControl(id, header) : undefined
}

function readControl(id: string, header: (name: string) => string | undefined): HoldEntry | undefined {
  const control = header(CONTROL)
  const target = header(TARGET)
  if (target === undefined || (control !== 'redrive' && control !== 'remove')) return undefined
  return { role: 'control', id, target, control }
}

function readHead(id: string, header: (name: string) => string | undefined, message: WireMessage): HoldEntry {
  const state = header(STATE)
  const isDead = state === 'dead'
  return {
    role: 'head',
    id,
    message,
    state: isDead || state === 'begun' ? state : 'retry',
    attempt: countOf(header(ATTEMPT)),
    dueAtMs: countOf(header(DUE)),
    isRedriven: header(REDRIVEN) === 'true',
    record: isDead ? decodeDeadLetterRecord(header(RECORD)) : undefined,
  }
}

function countOf(text: string | undefined): number {
  const count = Number(text ?? '')
  return Number.isSafeInteger(count) && count >= 0 ? count : 0
}
