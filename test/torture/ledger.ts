import type { Books } from './reckoning.ts'

/** Effects at each place so far; those that a moment ago were being committed may be missing. */
export type Progress = ReadonlyMap<string, number>

/** The database as the torture itself sees it, past the library. */
export interface Ledger {
  setUp(accounts: number): Promise<void>
  /** Undefined while the database cannot be asked. */
  progress(): Promise<Progress | undefined>
  /** True where every transfer has had each of its effects. */
  isComplete(): Promise<boolean>
  books(): Promise<Books>
  close(): Promise<void>
}
