import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

/** What the tables of a store work with while it is open. Each of these fails with the codes of a store. */
export interface SqliteStoreAccess {
  /** The machine's wall clock, which every process of the file shares. */
  readonly nowMs: number
  /** Text under which this process is entered in the file. */
  readonly address: string
  /** Reads what is committed. */
  read<T>(work: (connection: SqliteConnection) => T): Promise<T>
  /** Writes so that it survives a power cut. `work` may run several times. */
  write<T>(work: (turn: SqliteTurn) => T): Promise<T>
  /** Writes so that it survives the death of every process; a power cut may undo the last ones. `work` may run several times. */
  writeSoon<T>(work: (turn: SqliteTurn) => T): Promise<T>
}
