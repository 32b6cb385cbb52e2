import { createHash } from 'node:crypto'
import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Middleware } from './middleware.ts'
import { wholeInRange } from './retry-policy.ts'

/** Where bodies are kept that are too large for a message. Both sides have to reach the same one. */
export interface BodyStore {
  /** Keeps a body; the same id again is the same body. Resolves when it is durably stored. */
  put(id: string, body: Uint8Array): Promise<void>
  /** The body, or undefined where there is none (any more). */
  get(id: string): Promise<Uint8Array | undefined>
}

/** What `claimCheck` takes. */
export interface ClaimCheckOptions {
  /** `store.bodies`, or anything shaped like it: a bucket, a file server. */
  readonly bodies: BodyStore
  /** Bodies above this number of bytes are kept there. Default 65,536. */
  readonly overBytes?: number
}

/** Media type of a body that only says where the body is. */
export const CLAIM_TYPE = 'application/vnd.trunkline.claim-check+json'

/**
 * Keeps large bodies beside the broker and sends a reference (G. Hohpe, B. Woolf, "Enterprise Integration Patterns", Claim Check).
 * Publisher and consumer both need it, over the same bodies. Raise `defaults.bodyBytesMax` to what may be published then.
 *
 * @throws `core.option_invalid`.
 */
export function claimCheck(options: ClaimCheckOptions): Middleware {
  const { bodies } = options
  const overBytes = wholeInRange('overBytes', options.overBytes ?? 65_536, 1, 1_073_741_824)
  return {
    name: 'claim-check',
    publish: async ({ message, plane }, next) => {
      if (plane === 'light' || message.body.length <= overBytes) return await next(message)
      const digest = digestOf(message.body)
      // By what it holds: a message that is published again finds its body there.
      await bodies.put(digest, message.body)
      const body = Buffer.from(JSON.stringify({ sha256: digest, bytes: message.body.length, contentType: message.contentType }))
      return await next({ ...message, contentType: CLAIM_TYPE, body })
    },
    receive: (message) => (message.contentType === CLAIM_TYPE ? opened(bodies, message) : undefined),
  }
}

async function opened(bodies: BodyStore, message: WireMessage): Promise<WireMessage> {
  const claim = claimOf(message)
  const body = await bodies.get(claim.sha256)
  if (body === undefined) throw new TrunklineError('outbox.body_missing', { id: claim.sha256 })
  if (digestOf(body) !== claim.sha256) throw foreign('the body that it refers to is not what was sent')
  return { ...message, contentType: claim.contentType, body }
}

function claimOf({ body }: WireMessage): { readonly sha256: string; readonly contentType: string } {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(body).toString())
  } catch {
    value = undefined
  }
  if (typeof value === 'object' && value !== null && 'sha256' in value && 'contentType' in value) {
    const { sha256, contentType } = value
    if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && typeof contentType === 'string') return { sha256, contentType }
  }
  throw foreign('its reference to a body cannot be read')
}

/** What is wrong with a message whose body nobody has fetched. */
export function unopenedClaim(): TrunklineError {
  return foreign('its body is kept elsewhere, and this bus has no claimCheck middleware to fetch it')
}

function foreign(problem: string): TrunklineError {
  return new TrunklineError('contract.message_foreign', { problem })
}

function digestOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}
