import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** A running process, told apart from a later one with the same number (L-10). */
export interface ProcessIdentity {
  /** Processes of one place can see each other: one boot of one machine, one namespace of process ids. */
  readonly place: string
  readonly pid: number
  /** When it started, in the system's own unit; empty where the system does not tell. */
  readonly started: string
}

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return { place: ownPlace(), pid: process.pid, started: stateOf(process.pid)?.started ?? '' }
}

/**
 * True where the process has surely ended. A process of another place is never called dead: its number
 * means nothing here, and only its silence can tell.
 */
export function isSurelyDead(other: ProcessIdentity, own: ProcessIdentity): boolean {
  if (other.place !== own.place) return false
  if (other.pid === own.pid) return other.started !== own.started
  try {
    process.kill(other.pid, 0)
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'ESRCH'
  }
  const state = stateOf(other.pid)
  if (state === undefined) return false
  // A killed process keeps its number until its parent has noticed.
  return state.letter === 'Z' || state.letter === 'X' || (other.started !== '' && state.started !== other.started)
}

function ownPlace(): string {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return `${process.platform} ${hostname()}`
  }
}

/** State letter and start time of a process, where the system has /proc. */
function stateOf(pid: number): { readonly letter: string; readonly started: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in brackets may hold blanks and brackets; the fields after the last one are plain.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { letter: fields[0] ?? '', started: fields[19] ?? '' }
  } catch {
    return undefined
  }
}
