import type { LogCapabilities } from '../store/port.ts'
import { cellOf, heading } from './conformance-matrix.ts'
import { storeCases, storeStandingOf } from './store-conformance.ts'
import { type StoreSubject, storeFamilies } from './store-conformance-subject.ts'

/** What the matrix of stores needs to know of a subject; nothing has to run for it. */
export type StoreMatrixSubject = Pick<StoreSubject, 'name' | 'capabilities' | 'without'>

/**
 * The table of every case and what it means for each store, as Markdown: the part of the page after the transports. It is
 * made from names and declarations, never from results.
 */
export function storeMatrix(subjects: readonly StoreMatrixSubject[]): string {
  const notes: string[] = []
  const families = storeFamilies.map((family) => {
    const rows = storeCases
      .filter((one) => one.family === family)
      .map((one) => `| ${one.name} | ${subjects.map((subject) => cellOf(storeStandingOf(one, subject), subject.name, notes)).join(' | ')} |`)
    return [`## Stores: ${family}`, '', heading(subjects), ...rows, ''].join('\n')
  })
  return [INTRODUCTION, capabilityTable(subjects), ...families, ...notes.map((note, at) => `${at + 1}. ${note}`), ''].join('\n')
}

const INTRODUCTION = `# Conformance of stores

Event log, units of work, outbox, inbox, leases and timers of every store run the same cases, each in a database of its own, with two or
three processes' worth of connections. The numbers are those of the notes at the end of this part.
`

const CAPABILITIES: readonly (keyof LogCapabilities)[] = ['canCommitRows', 'canCommitStreams', 'survivesProcessDeath']

function capabilityTable(subjects: readonly StoreMatrixSubject[]): string {
  const rows = CAPABILITIES.map((flag) => `| \`${flag}\` | ${subjects.map(({ capabilities }) => (capabilities[flag] ? 'yes' : 'no')).join(' | ')} |`)
  return [heading(subjects).replace('case', 'capability'), ...rows, ''].join('\n')
}
