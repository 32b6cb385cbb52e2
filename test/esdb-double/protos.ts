import { createRequire } from 'node:module'
import type * as FeaturesPb from '@eventstore/db-client/generated/serverfeatures_pb.js'
import type * as FeaturesGrpc from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js'
import type * as GossipPb from '@eventstore/db-client/generated/gossip_pb.js'
import type * as GossipGrpc from '@eventstore/db-client/generated/gossip_grpc_pb.js'
import type * as PersistentPb from '@eventstore/db-client/generated/persistent_pb.js'
import type * as PersistentGrpc from '@eventstore/db-client/generated/persistent_grpc_pb.js'
import type * as SharedPb from '@eventstore/db-client/generated/shared_pb.js'
import type * as StatusPb from '@eventstore/db-client/generated/status_pb.js'
import type * as StreamsPb from '@eventstore/db-client/generated/streams_pb.js'
import type * as StreamsGrpc from '@eventstore/db-client/generated/streams_grpc_pb.js'
import type * as AnyPb from 'google-protobuf/google/protobuf/any_pb.js'
import type * as EmptyPb from 'google-protobuf/google/protobuf/empty_pb.js'

// The client package's generated modules give their names out at run time only, which an ESM import cannot see.
const load = createRequire(import.meta.url)
const generated = (name: string): unknown => load(`@eventstore/db-client/generated/${name}.js`)

/** Messages of the streams service. */
export const streams = generated('streams_pb') as typeof StreamsPb
/** Messages of the service for persistent subscriptions. */
export const persistent = generated('persistent_pb') as typeof PersistentPb
/** Messages that several services use. */
export const shared = generated('shared_pb') as typeof SharedPb
/** What a batch append answers an error with. */
export const statuses = generated('status_pb') as typeof StatusPb
/** What a server can do. */
export const features = generated('serverfeatures_pb') as typeof FeaturesPb
/** Members of a cluster. */
export const gossips = generated('gossip_pb') as typeof GossipPb

/** Definitions for a server. */
export const { StreamsService } = generated('streams_grpc_pb') as typeof StreamsGrpc
/** As above. */
export const { PersistentSubscriptionsService } = generated('persistent_grpc_pb') as typeof PersistentGrpc
/** As above. */
export const { ServerFeaturesService } = generated('serverfeatures_grpc_pb') as typeof FeaturesGrpc
/** As above. */
export const { GossipService } = generated('gossip_grpc_pb') as typeof GossipGrpc

/** Empty messages of google's own kind. */
export const { Empty: GoogleEmpty } = load('google-protobuf/google/protobuf/empty_pb.js') as typeof EmptyPb
/** A message in a message. */
export const { Any } = load('google-protobuf/google/protobuf/any_pb.js') as typeof AnyPb
