import type { PolicyEvent } from '../bus/call-policy.ts'
import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema, SchemaIssue } from '../contract/schema.ts'

/** Whose state it is. */
interface Announced {
  /** Name of the service, and id of its running instance. */
  readonly service: string
  readonly instance: string
}

/** A circuit breaker of an instance has changed. */
export interface CircuitAnnouncement extends Announced {
  /** What it guards: a contract's type, or the name of the breaker. */
  readonly name: string
  readonly state: 'closed' | 'open' | 'half-open'
  readonly retryAfterMs: number
}

/** An instance sheds what it is asked, or does so no more. */
export interface LoadAnnouncement extends Announced {
  /** What is asked: a contract's type, or the name of the policy. */
  readonly name: string
  readonly state: 'normal' | 'shedding'
  readonly reason: string
}

/** An instance has paused one of its subscriptions, or goes on with it. */
export interface IntakeAnnouncement extends Announced {
  readonly group: string
  readonly state: 'paused' | 'running'
  readonly reason: string
}

/** The types of an announced state. */
export interface AnnouncementTypes<A> extends ContractTypes {
  readonly input: A
  readonly output: A
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

type Rule = 'text' | 'number' | readonly string[]

const TEXT_MAX = 500

/** A flat object of texts, numbers and words; what comes from other processes is checked like everything else. */
function flat<A>(rules: Readonly<Record<keyof A & string, Rule>>): Schema<A> {
  const names: readonly string[] = Object.keys(rules)
  return {
    '~standard': {
      version: 1,
      vendor: 'trunkline',
      validate: (value) => {
        if (typeof value !== 'object' || value === null) return { issues: [{ message: 'it is no object' }] }
        const issues = names.flatMap((name) => issuesOf(name, Reflect.get(rules, name), Reflect.get(value, name)))
        if (issues.length > 0) return { issues }
        // Every name was checked by its rule; the rules are those of A.
        return { value: Object.fromEntries(names.map((name) => [name, Reflect.get(value, name)])) as A }
      },
    },
  }
}

function issuesOf(name: string, rule: Rule, value: unknown): readonly SchemaIssue[] {
  const holds =
    rule === 'number' ? typeof value === 'number' && Number.isFinite(value)
    : typeof value === 'string' && value.length <= TEXT_MAX && (rule === 'text' || rule.includes(value))
  return holds ? [] : [{ message: rule === 'text' || rule === 'number' ? `it is no ${rule}` : `it is none of ${rule.join(', ')}`, path: [name] }]
}

const FROM = { service: 'text', instance: 'text' } as const

/** Broadcast when a circuit breaker of a bus that announces its states changes. */
export const CircuitChanged: EventContract<'trunkline.circuit-changed', AnnouncementTypes<CircuitAnnouncement>> =
  event('trunkline.circuit-changed', { schema: flat<CircuitAnnouncement>({ ...FROM, name: 'text', state: ['closed', 'open', 'half-open'], retryAfterMs: 'number' }) })
/** Broadcast when an instance begins or ends to shed. */
export const LoadChanged: EventContract<'trunkline.load-changed', AnnouncementTypes<LoadAnnouncement>> =
  event('trunkline.load-changed', { schema: flat<LoadAnnouncement>({ ...FROM, name: 'text', state: ['normal', 'shedding'], reason: 'text' }) })
/** Broadcast when a subscription is paused by a kill switch, and when it goes on. */
export const IntakeChanged: EventContract<'trunkline.intake-changed', AnnouncementTypes<IntakeAnnouncement>> =
  event('trunkline.intake-changed', { schema: flat<IntakeAnnouncement>({ ...FROM, group: 'text', state: ['paused', 'running'], reason: 'text' }) })

/** A policy's event as it is broadcast. */
export function announcementOf(told: PolicyEvent, from: Announced): { readonly contract: EventContract; readonly data: unknown } {
  switch (told.kind) {
    case 'circuit-changed':
      return { contract: CircuitChanged, data: { ...from, name: told.name, state: told.state, retryAfterMs: told.retryAfterMs } satisfies CircuitAnnouncement }
    case 'load-changed':
      return { contract: LoadChanged, data: { ...from, name: told.name, state: told.state, reason: told.reason } satisfies LoadAnnouncement }
    case 'subscription-paused':
      return { contract: IntakeChanged, data: { ...from, group: told.group, state: 'paused', reason: told.reason } satisfies IntakeAnnouncement }
    case 'subscription-resumed':
      return { contract: IntakeChanged, data: { ...from, group: told.group, state: 'running', reason: 'the pause is over' } satisfies IntakeAnnouncement }
  }
}
