/**
 * Lets one transaction of this process at a time into a file. SQLite would make the second one wait by blocking the thread, on which
 * the first one may have to go on.
 */
export class SqliteGate {
  #isTaken = false
  /** Each at most once, in the order in which they came. */
  readonly #waiting = new Set<() => void>()

  /** True where the caller is in; it calls `leave`. Else `wake` is called once when trying again makes sense. */
  enter(wake: () => void): boolean {
    if (this.#isTaken) {
      this.#waiting.add(wake)
      return false
    }
    this.#waiting.delete(wake)
    this.#isTaken = true
    return true
  }

  leave(): void {
    this.#isTaken = false
    const [wake] = this.#waiting
    if (wake === undefined) return
    this.#waiting.delete(wake)
    wake()
  }

  /** Forgets one who waits. */
  forget(wake: () => void): void {
    this.#waiting.delete(wake)
  }
}

const gates = new Map<string, { readonly gate: SqliteGate; users: number }>()

/** The gate of a file, common to all who have it open in this process. Give it back with `closeGate`. */
export function openGate(file: string): SqliteGate {
  let shared = gates.get(file)
  if (shared === undefined) {
    shared = { gate: new SqliteGate(), users: 0 }
    gates.set(file, shared)
  }
  shared.users++
  return shared.gate
}

/** Ends one use of the gate. */
export function closeGate(file: string): void {
  const shared = gates.get(file)
  if (shared !== undefined && --shared.users === 0) gates.delete(file)
}
