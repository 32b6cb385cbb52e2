import type { TransportCapabilities } from '../bus/port.ts'
import { type CaseStanding, conformanceCases, standingOf } from './conformance.ts'
import { type ConformanceCase, conformanceFamilies } from './conformance-case.ts'
import type { ConformanceSubject } from './conformance-subject.ts'
import type { StoreStanding } from './store-conformance.ts'

/** What the matrix needs to know of a subject; nothing has to run for it. */
export type MatrixSubject = Pick<ConformanceSubject, 'name' | 'capabilities' | 'without'>

/**
 * The table of every case and what it means for each transport, as Markdown. It is made from names and
 * declarations, never from results, so it is the same on every machine.
 */
export function conformanceMatrix(subjects: readonly MatrixSubject[]): string {
  const notes: string[] = []
  const families = conformanceFamilies.map((family) => {
    const rows = conformanceCases.filter((one) => one.family === family).map((one) => rowOf(one, subjects, notes))
    return [`## ${family[0]?.toUpperCase()}${family.slice(1)}`, '', heading(subjects), ...rows, ''].join('\n')
  })
  return [INTRODUCTION, capabilityTable(subjects), ...families, ...notes.map((note, at) => `${at + 1}. ${note}`), ''].join('\n')
}

const INTRODUCTION = `# Conformance

Every transport runs the same cases, shipped as \`trunkline/testing\`. "yes" is tested on a real broker; "refused" means that the
transport declares the operation absent and a test sees it refused with \`bus.unsupported\`; a number is the reason why nothing is promised.
This page is written by \`npx node scripts/write-conformance-doc.mjs\` from the cases and the declared capabilities; a test fails when it is stale.

## Capabilities
`

/** The head of a table of cases, a column for each subject. */
export function heading(subjects: readonly { readonly name: string }[]): string {
  return `| case | ${subjects.map(({ name }) => name).join(' | ')} |\n| --- |${' --- |'.repeat(subjects.length)}`
}

function capabilityTable(subjects: readonly MatrixSubject[]): string {
  const [first] = subjects
  const flags = first === undefined ? [] : Object.keys(first.capabilities).filter((flag): flag is keyof TransportCapabilities => flag in first.capabilities)
  const rows = flags.map((flag) => `| \`${flag}\` | ${subjects.map(({ capabilities }) => (capabilities[flag] ? 'yes' : 'no')).join(' | ')} |`)
  return [heading(subjects).replace('case', 'capability'), ...rows, ''].join('\n')
}

function rowOf(one: ConformanceCase, subjects: readonly MatrixSubject[], notes: string[]): string {
  return `| ${one.name} | ${subjects.map((subject) => cellOf(standingOf(one, subject), subject.name, notes)).join(' | ')} |`
}

/** What stands in one cell; the number is that of a note, which is added where it is new. */
export function cellOf(standing: CaseStanding | StoreStanding, name: string, notes: string[]): string {
  if (standing.kind === 'kept') return 'yes'
  if (standing.kind === 'refused') return 'refused'
  const note = `${name}: ${standing.reason}`
  if (!notes.includes(note)) notes.push(note)
  return `${notes.indexOf(note) + 1}`
}
