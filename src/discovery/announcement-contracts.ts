import { z } from 'zod'
import type { EventContract, QueryContract } from '../contract/contract.ts'
import { type CallTypes, type EventTypes, event, query } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'
import { type Beat, type FullAnnouncement, type RosterRow, TEXT_LENGTH_MAX, beat, fullAnnouncement, rosterRow } from './announcement.ts'

/** Rows of one page of a roster. */
export const ROSTER_PAGE_MAX = 200

type Announced<T extends string, D> = EventContract<T, EventTypes<z.ZodType<D>>>

/** An instance is there. */
export const InstanceStarted: Announced<'trunkline.instance-started', FullAnnouncement> = event('trunkline.instance-started', { schema: fullAnnouncement })
/** An instance is still there: it says so in intervals. */
export const InstanceAlive: Announced<'trunkline.instance-alive', Beat> = event('trunkline.instance-alive', { schema: beat })
/** Something about an instance is different: its health, weight, tags, addresses or contracts. */
export const InstanceChanged: Announced<'trunkline.instance-changed', FullAnnouncement> = event('trunkline.instance-changed', { schema: fullAnnouncement })
/** An instance takes nothing new and will stop. */
export const InstanceDraining: Announced<'trunkline.instance-draining', Beat> = event('trunkline.instance-draining', { schema: beat })
/** An instance has stopped. */
export const InstanceStopped: Announced<'trunkline.instance-stopped', Beat> = event('trunkline.instance-stopped', { schema: beat })

/** What an announcement is about. */
export type AnnouncementKind = 'started' | 'alive' | 'changed' | 'draining' | 'stopped'

/** The announcements of one audience, by kind. */
export type AnnouncementContracts = Readonly<Record<AnnouncementKind, EventContract>>

/** Announcements for those who hear all services. */
export const COMMON: AnnouncementContracts = {
  started: InstanceStarted, alive: InstanceAlive, changed: InstanceChanged, draining: InstanceDraining, stopped: InstanceStopped,
}

/** Announcements for those who hear one service. */
export function contractsOf(service: string): AnnouncementContracts {
  const context = contextOf(service)
  return {
    started: event(`${context}.instance-started`, { schema: fullAnnouncement }),
    alive: event(`${context}.instance-alive`, { schema: beat }),
    changed: event(`${context}.instance-changed`, { schema: fullAnnouncement }),
    draining: event(`${context}.instance-draining`, { schema: beat }),
    stopped: event(`${context}.instance-stopped`, { schema: beat }),
  }
}

/** Names may have underscores, types may not; what two services then share is told apart by the name inside. */
function contextOf(service: string): string {
  return `trunkline-${service.replaceAll('_', '-')}`
}

/** Which instance is asked about itself. */
export interface DescribeRequest {
  readonly instance: string
}

const describeRequest: z.ZodType<DescribeRequest> = z.object({ instance: z.string().max(TEXT_LENGTH_MAX) })

/** Asks one instance about itself: how it is probed. */
export const DescribeInstance: QueryContract<'trunkline.describe-instance', CallTypes<z.ZodType<DescribeRequest>, z.ZodType<FullAnnouncement>, Record<never, Schema>>> =
  query('trunkline.describe-instance', { request: describeRequest, response: fullAnnouncement })

/** A page of what an instance knows. */
export interface RosterPage {
  readonly rows: readonly RosterRow[]
  /** Ask for the page after this instance; undefined on the last one. */
  readonly next?: string | undefined
  /** Instances that the answering one knows to be there. */
  readonly size: number
}

const rosterPage: z.ZodType<RosterPage> = z.object({
  rows: z.array(rosterRow).max(ROSTER_PAGE_MAX), next: z.string().max(TEXT_LENGTH_MAX).optional(), size: z.int().nonnegative(),
})

/** Which page is asked for. */
export interface RosterRequest {
  /** Only rows of these services; empty for all. */
  readonly services: readonly string[]
  /** Only rows behind this instance, by name. */
  readonly after?: string | undefined
  readonly limit: number
}

const rosterRequest: z.ZodType<RosterRequest> = z.object({
  services: z.array(z.string().max(100)).max(100),
  after: z.string().max(TEXT_LENGTH_MAX).optional(),
  limit: z.int().min(0).max(ROSTER_PAGE_MAX),
})

type RosterTypes = CallTypes<z.ZodType<RosterRequest>, z.ZodType<RosterPage>, Record<never, Schema>>

/** Asks who is there, of those who hear all services: one that has been there for longer answers for all. */
export const ShowRoster: QueryContract<'trunkline.show-roster', RosterTypes> = query('trunkline.show-roster', { request: rosterRequest, response: rosterPage })

/** Asks who is there of one service, of its own instances. */
export function rosterOf(service: string): QueryContract<string, RosterTypes> {
  return query(`${contextOf(service)}.show-roster`, { request: rosterRequest, response: rosterPage })
}
