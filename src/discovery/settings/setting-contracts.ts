import type { ContractTypes, EventContract, QueryContract } from '../../contract/contract.ts'
import { event, query } from '../../contract/define.ts'
import type { Schema, SchemaIssue } from '../../contract/schema.ts'
import type { SettingScope } from './setting-scope.ts'

/** A value that was set, or taken back, for one scope. */
export interface SettingChange {
  /** Name of the setting. */
  readonly name: string
  readonly scope: SettingScope
  /** JSON; null where it was taken back. */
  readonly value: unknown
  /** True where nothing is set for this scope any more. */
  readonly isCleared: boolean
  /** Who set it, for people. */
  readonly by: string
  readonly reason: string
  /** Its number among the changes of this setting, from 0. */
  readonly revision: number
}

/** What a peer knows. */
export interface SettingAnswer {
  /** The last change of every setting and scope. */
  readonly changes: readonly SettingChange[]
  /** True where it has read a store, or heard from somebody who has. */
  readonly isComplete: boolean
}

/** The types of `SettingChanged`. */
export interface SettingChangedTypes extends ContractTypes {
  readonly input: SettingChange
  readonly output: SettingChange
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** The types of `SettingValues`. */
export interface SettingValuesTypes extends ContractTypes {
  readonly input: object
  readonly output: object
  readonly replyInput: SettingAnswer
  readonly replyOutput: SettingAnswer
  readonly errors: object
}

const TEXT_MAX = 2_000
const CHANGES_MAX = 10_000

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= TEXT_MAX
}

function issuesOf(value: unknown): readonly SchemaIssue[] {
  if (typeof value !== 'object' || value === null) return [{ message: 'it is no object' }]
  const field = (name: string): unknown => Reflect.get(value, name)
  const texts = ['name', 'by', 'reason'].filter((name) => !isText(field(name))).map((name) => ({ message: 'it is no text', path: [name] }))
  const scope = field('scope')
  const isScope = typeof scope === 'object' && scope !== null && Object.entries(scope).every(([name, one]) => ['service', 'version', 'zone', 'instance'].includes(name) && isText(one))
  return [
    ...texts,
    ...(isScope ? [] : [{ message: 'it is no scope', path: ['scope'] }]),
    ...(typeof field('isCleared') === 'boolean' ? [] : [{ message: 'it is neither true nor false', path: ['isCleared'] }]),
    ...(Number.isSafeInteger(field('revision')) && Number(field('revision')) >= 0 ? [] : [{ message: 'it is no number of a change', path: ['revision'] }]),
    ...('value' in value ? [] : [{ message: 'it is missing', path: ['value'] }]),
  ]
}

function checkedBy<T>(issues: (value: unknown) => readonly SchemaIssue[]): Schema<T> {
  return {
    '~standard': {
      version: 1,
      vendor: 'trunkline',
      validate: (value) => {
        const found = issues(value)
        // The rules above are those of the type.
        return found.length === 0 ? { value: value as T } : { issues: found }
      },
    },
  }
}

function answerIssues(value: unknown): readonly SchemaIssue[] {
  const changes: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'changes') : undefined
  if (!Array.isArray(changes) || changes.length > CHANGES_MAX) return [{ message: `it is no list of at most ${CHANGES_MAX} changes`, path: ['changes'] }]
  return changes.flatMap((change: unknown, at) => issuesOf(change).map((issue) => ({ ...issue, path: ['changes', at, ...(issue.path ?? [])] })))
}

/** Stored in the stream `settings-<name>` when a setting is set, and broadcast to everybody. */
export const SettingChanged: EventContract<'trunkline.setting-changed', SettingChangedTypes> = event('trunkline.setting-changed', { schema: checkedBy<SettingChange>(issuesOf) })

/** Asked by an instance that joins, of any that is there. */
export const SettingValues: QueryContract<'trunkline.setting-values', SettingValuesTypes> = query('trunkline.setting-values', {
  request: checkedBy<object>((value) => (typeof value === 'object' && value !== null ? [] : [{ message: 'it is no object' }])),
  response: checkedBy<SettingAnswer>(answerIssues),
})
