"""HAL, a hybrid adaptive learning scheduler. This module is the SDK: the names that a plugin may import, and no others.

    from hal_core import Plan, PluginInfo, Snapshot, Start, hookimpl

It is lazy: importing it takes microseconds and pulls in nothing; a name is loaded when it is first used. Deeper modules
may change without notice. `SDK_VERSION` grows when a name here changes its meaning or goes.
"""

TYPE_CHECKING = False  # type checkers read this as True; importing `typing` would cost more than all the rest here
if TYPE_CHECKING:
    from hal_core.errors import (
        Conflict as Conflict,
        HalError as HalError,
        InvalidInput as InvalidInput,
        NoCapacity as NoCapacity,
        NotFound as NotFound,
        PluginError as PluginError,
        Problem as Problem,
        Refused as Refused,
        Unavailable as Unavailable,
        UserError as UserError,
        WireError as WireError,
        did_you_mean as did_you_mean,
    )
    from hal_core.fleet.bootstrap import Bootstrap as Bootstrap
    from hal_core.fleet.drivers import Drivers as Drivers
    from hal_core.fleet.fleet import Fleet as Fleet, FleetOptions as FleetOptions
    from hal_core.fleet.machines import (
        Machine as Machine,
        MachineName as MachineName,
        Machines as Machines,
        check_name_prefix as check_name_prefix,
        check_offer_name as check_offer_name,
    )
    from hal_core.fleet.user_data import UserData as UserData
    from hal_core.hookspecs import Register as Register, hookimpl as hookimpl
    from hal_core.models.booking import (
        BookedRoom as BookedRoom,
        Booking as Booking,
        NodeBookings as NodeBookings,
        QueuedStart as QueuedStart,
        Request as Request,
        merged_bookings as merged_bookings,
    )
    from hal_core.models.dataset import (
        PEER as PEER,
        Brought as Brought,
        DataFile as DataFile,
        Dataset as Dataset,
        DatasetId as DatasetId,
        Measured as Measured,
        address_of as address_of,
        file_version as file_version,
    )
    from hal_core.models.effect import (
        CancelOrder as CancelOrder,
        KeepOrder as KeepOrder,
        LaunchOrder as LaunchOrder,
        SuspendOrder as SuspendOrder,
    )
    from hal_core.models.event import (
        AccessChanged as AccessChanged,
        BookingsChanged as BookingsChanged,
        ClusterDefined as ClusterDefined,
        CopiesChanged as CopiesChanged,
        DatasetAdded as DatasetAdded,
        DatasetPinned as DatasetPinned,
        DatasetRemoved as DatasetRemoved,
        Event as Event,
        EvictionOrdered as EvictionOrdered,
        IdleFound as IdleFound,
        InputsStaged as InputsStaged,
        JobCancelRequested as JobCancelRequested,
        JobEnded as JobEnded,
        JobHeld as JobHeld,
        JobPlaced as JobPlaced,
        JobReleased as JobReleased,
        JobRequeued as JobRequeued,
        JobResumed as JobResumed,
        JobResumeRequested as JobResumeRequested,
        JobSubmitted as JobSubmitted,
        JobSuspended as JobSuspended,
        NodeDrained as NodeDrained,
        NodeJoined as NodeJoined,
        NodeResumed as NodeResumed,
        NodeSuspected as NodeSuspected,
        NodeWentDown as NodeWentDown,
        ObserverDisabled as ObserverDisabled,
        OrphanFound as OrphanFound,
        OutputRefused as OutputRefused,
        PartEnded as PartEnded,
        PartStarted as PartStarted,
        Planned as Planned,
        PolicyChanged as PolicyChanged,
        PriorityChanged as PriorityChanged,
        ReservationAdded as ReservationAdded,
        ReservationRemoved as ReservationRemoved,
        RunTimesPredicted as RunTimesPredicted,
        SessionChanged as SessionChanged,
        VariantChosen as VariantChosen,
        WeightChanged as WeightChanged,
    )
    from hal_core.models.event_values import (
        event_view as event_view,
        job_of as job_of,
        session_user_of as session_user_of,
    )
    from hal_core.models.event_words import end_text as end_text, event_text as event_text
    from hal_core.models.foreign import ForeignJob as ForeignJob, ForeignNode as ForeignNode, Look as Look
    from hal_core.models.job import (
        ArraySpec as ArraySpec,
        Dependency as Dependency,
        DependencyKind as DependencyKind,
        End as End,
        EndKind as EndKind,
        JobId as JobId,
        JobSpec as JobSpec,
        JobState as JobState,
        Owner as Owner,
        Shape as Shape,
        Spread as Spread,
    )
    from hal_core.models.masks import mask_of as mask_of
    from hal_core.models.message import (
        BookingsReported as BookingsReported,
        CopiesReported as CopiesReported,
        Message as Message,
        NodeLeaving as NodeLeaving,
        NodeLost as NodeLost,
        NodeReported as NodeReported,
        NodeSilent as NodeSilent,
        OutputsMade as OutputsMade,
        PartsChanged as PartsChanged,
        PartStatus as PartStatus,
    )
    from hal_core.models.node import (
        Cluster as Cluster,
        Node as Node,
        NodeName as NodeName,
        NodeStatus as NodeStatus,
        Partition as Partition,
        PartitionName as PartitionName,
        Reservation as Reservation,
    )
    from hal_core.models.notice import Notice as Notice
    from hal_core.models.packing import Ask as Ask, Packing as Packing
    from hal_core.models.patterns import (
        default_output_pattern as default_output_pattern,
        expand_pattern as expand_pattern,
        pattern_values as pattern_values,
    )
    from hal_core.models.placement import AttemptKey as AttemptKey, Share as Share
    from hal_core.models.plan import (
        NodeColumns as NodeColumns,
        PendingJob as PendingJob,
        Plan as Plan,
        Preempt as Preempt,
        Reserve as Reserve,
        RunningJob as RunningJob,
        Snapshot as Snapshot,
        Start as Start,
        Victim as Victim,
    )
    from hal_core.models.plugin import SDK_VERSION as SDK_VERSION, PluginInfo as PluginInfo
    from hal_core.models.prediction import Arrival as Arrival, Outcome as Outcome, Prediction as Prediction
    from hal_core.models.quota import Quota as Quota, within as within
    from hal_core.models.ranges import (
        Ranges as Ranges,
        RangeSet as RangeSet,
        count_of as count_of,
        format_ranges as format_ranges,
        members as members,
        parse_ranges as parse_ranges,
        runs_of as runs_of,
    )
    from hal_core.models.reservation import Holds as Holds
    from hal_core.models.room import Room as Room
    from hal_core.models.session import SessionChange as SessionChange, SessionChangeKind as SessionChangeKind
    from hal_core.models.snapshot_view import SnapshotView as SnapshotView
    from hal_core.models.staging import Tier as Tier, Tiers as Tiers
    from hal_core.models.standing import Standing as Standing
    from hal_core.models.trace import (
        Trace as Trace,
        launch_span_id as launch_span_id,
        run_span_id as run_span_id,
        span_id_of as span_id_of,
        trace_of as trace_of,
    )
    from hal_core.options import structure_options as structure_options
    from hal_core.parsing.hosts import parse_hosts as parse_hosts
    from hal_core.planes import (
        CloudProvider as CloudProvider,
        DataSource as DataSource,
        Engine as Engine,
        EventLog as EventLog,
        Executor as Executor,
        ForeignScheduler as ForeignScheduler,
        Foreteller as Foreteller,
        Instance as Instance,
        LeaseExecutor as LeaseExecutor,
        LocalityProvider as LocalityProvider,
        Measuring as Measuring,
        NoticeSource as NoticeSource,
        Observer as Observer,
        Offer as Offer,
        Options as Options,
        Predictor as Predictor,
        ReadingObserver as ReadingObserver,
        Replica as Replica,
        Report as Report,
        StoreExecutor as StoreExecutor,
        SuspendExecutor as SuspendExecutor,
        TellUse as TellUse,
    )
    from hal_core.rules.cpu_profile import CpuProfile as CpuProfile
    from hal_core.rules.nearness import Nearness as Nearness
    from hal_core.rules.patience import Patience as Patience, is_later_better as is_later_better
    from hal_core.rules.permit import Permit as Permit, Permits as Permits
    from hal_core.rules.profile import Hold as Hold, Profile as Profile, profile_of as profile_of
    from hal_core.rules.timeline import (
        Promise as Promise,
        earliest_start as earliest_start,
    )
    from hal_core.rules.victims import give_back as give_back, least_loss as least_loss, lend as lend
    from hal_core.secret import Secret as Secret
    from hal_core.tracing import (
        Note as Note,
        PartSpans as PartSpans,
        Span as Span,
        SpanSender as SpanSender,
        TraceValue as TraceValue,
    )
    from hal_core.web.files import WebFile as WebFile, WebFiles as WebFiles, WebOptions as WebOptions
    from hal_core.web.locality import WebLocality as WebLocality
    from hal_core.wire.agents import AgentLink as AgentLink, Introduction as Introduction
    from hal_core.wire.door import Door as Door, Guest as Guest
    from hal_core.wire.frames import LinkLost as LinkLost
    from hal_core.wire.loans import TICKET_S as TICKET_S, make_ticket as make_ticket
    from hal_core.wire.messages import (
        Delivery as Delivery,
        Inventory as Inventory,
        Leaving as Leaving,
        Loan as Loan,
        Made as Made,
        TerminalOffer as TerminalOffer,
        Use as Use,
    )
    from hal_core.wire.terminals import Terminals as Terminals
    from hal_core.wire.tls import parse_address as parse_address

__version__ = "0.1.0"

_NAMES_BY_MODULE = {
    "errors": (
        "Conflict HalError InvalidInput NoCapacity NotFound PluginError Problem Refused Unavailable UserError "
        "WireError did_you_mean"
    ),
    "fleet.bootstrap": "Bootstrap",
    "fleet.drivers": "Drivers",
    "fleet.fleet": "Fleet FleetOptions",
    "fleet.machines": "Machine MachineName Machines check_name_prefix check_offer_name",
    "fleet.user_data": "UserData",
    "hookspecs": "Register hookimpl",
    "models.booking": "BookedRoom Booking NodeBookings QueuedStart Request merged_bookings",
    "models.dataset": "Brought DataFile Dataset DatasetId Measured PEER address_of file_version",
    "models.effect": "CancelOrder KeepOrder LaunchOrder SuspendOrder",
    "models.event": (
        "AccessChanged BookingsChanged ClusterDefined CopiesChanged DatasetAdded DatasetPinned DatasetRemoved Event "
        "EvictionOrdered IdleFound InputsStaged JobCancelRequested JobEnded JobHeld JobPlaced JobReleased JobRequeued "
        "JobResumed JobResumeRequested JobSubmitted JobSuspended NodeDrained NodeJoined NodeResumed NodeSuspected "
        "NodeWentDown ObserverDisabled OrphanFound OutputRefused PartEnded PartStarted Planned PolicyChanged "
        "PriorityChanged ReservationAdded ReservationRemoved RunTimesPredicted SessionChanged VariantChosen "
        "WeightChanged"
    ),
    "models.event_words": "end_text event_text",
    "models.event_values": "event_view job_of session_user_of",
    "models.foreign": "ForeignJob ForeignNode Look",
    "models.job": "ArraySpec Dependency DependencyKind End EndKind JobId JobSpec JobState Owner Shape Spread",
    "models.message": (
        "BookingsReported CopiesReported Message NodeLeaving NodeLost NodeReported NodeSilent OutputsMade PartStatus "
        "PartsChanged"
    ),
    "models.node": "Cluster Node NodeName NodeStatus Partition PartitionName Reservation",
    "models.notice": "Notice",
    "models.placement": "AttemptKey Share",
    "models.plan": "NodeColumns PendingJob Plan Preempt Reserve RunningJob Snapshot Start Victim",
    "models.plugin": "PluginInfo SDK_VERSION",
    "models.prediction": "Arrival Outcome Prediction",
    "models.patterns": "default_output_pattern expand_pattern pattern_values",
    "models.ranges": "RangeSet Ranges count_of format_ranges members parse_ranges runs_of",
    "models.masks": "mask_of",
    "models.packing": "Ask Packing",
    "models.reservation": "Holds",
    "models.room": "Room",
    "models.session": "SessionChange SessionChangeKind",
    "models.snapshot_view": "SnapshotView",
    "models.staging": "Tier Tiers",
    "models.standing": "Standing",
    "models.trace": "Trace launch_span_id run_span_id span_id_of trace_of",
    "tracing": "Note PartSpans Span SpanSender TraceValue",
    "options": "structure_options",
    "parsing.hosts": "parse_hosts",
    "planes": (
        "CloudProvider DataSource Engine EventLog Executor ForeignScheduler Foreteller Instance LeaseExecutor "
        "LocalityProvider Measuring NoticeSource Observer Offer Options Predictor ReadingObserver Replica Report "
        "SuspendExecutor TellUse"
    ),
    "models.quota": "Quota within",
    "rules.victims": "give_back least_loss lend",
    "rules.nearness": "Nearness",
    "rules.patience": "Patience is_later_better",
    "rules.permit": "Permit Permits",
    "rules.cpu_profile": "CpuProfile",
    "rules.profile": "Hold Profile profile_of",
    "rules.timeline": "Promise earliest_start",
    "secret": "Secret",
    "web.files": "WebFile WebFiles WebOptions",
    "web.locality": "WebLocality",
    "wire.agents": "AgentLink Introduction",
    "wire.door": "Door Guest",
    "wire.frames": "LinkLost",
    "wire.loans": "TICKET_S make_ticket",
    "wire.messages": "Delivery Inventory Leaving Loan Made TerminalOffer Use",
    "wire.terminals": "Terminals",
    "wire.tls": "parse_address",
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    """Load a name of the SDK at its first use, and keep it."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'hal_core' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"hal_core.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
