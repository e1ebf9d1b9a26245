// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Object identifiers, NDIS_OID (`ntddndis.h`), and the kinds of request.

named! {
    /// NDIS_OID.
    pub struct Oid(u32);
    /// Adds a list of SAs. Direct path, set only, NDIS 6.1 and 6.20.
    ADD_SA = 0xfc03_0202, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA";
    /// Deletes a list of SAs. Direct path, set only.
    DELETE_SA = 0xfc03_0203, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_DELETE_SA";
    /// Sets the high half of an extended sequence number. Direct path, set only.
    UPDATE_SA = 0xfc03_0204, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_UPDATE_SA";
    /// Adds one SA. Direct path, set only, NDIS 6.30 and later.
    ADD_SA_EX = 0xfc03_0205, "OID_TCP_TASK_IPSEC_OFFLOAD_V2_ADD_SA_EX";
    /// What is enabled. Query, answered by NDIS.
    CURRENT_CONFIG = 0xfc01_020b, "OID_TCP_OFFLOAD_CURRENT_CONFIG";
    /// Enables and disables offloads. Set, serialised path.
    PARAMETERS = 0xfc01_020c, "OID_TCP_OFFLOAD_PARAMETERS";
    /// What the hardware can do. Query, answered by NDIS.
    HARDWARE_CAPABILITIES = 0xfc01_020d, "OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES";
    /// Encapsulation of the frames; starts the offloads. Set to the miniport; queries are answered
    /// by NDIS.
    ENCAPSULATION = 0x0101_010a, "OID_OFFLOAD_ENCAPSULATION";
    /// NDIS 5: task offload.
    TASK_OFFLOAD = 0xfc01_0201, "OID_TCP_TASK_OFFLOAD";
    /// Version 1: adds an SA.
    V1_ADD_SA = 0xfc01_0202, "OID_TCP_TASK_IPSEC_ADD_SA";
    /// Version 1: deletes an SA.
    V1_DELETE_SA = 0xfc01_0203, "OID_TCP_TASK_IPSEC_DELETE_SA";
    /// Version 1: adds an SA with UDP encapsulation.
    V1_ADD_UDPESP_SA = 0xfc01_0205, "OID_TCP_TASK_IPSEC_ADD_UDPESP_SA";
    /// Version 1: deletes an SA with UDP encapsulation.
    V1_DELETE_UDPESP_SA = 0xfc01_0206, "OID_TCP_TASK_IPSEC_DELETE_UDPESP_SA";
}

named! {
    /// NDIS_REQUEST_TYPE.
    pub struct RequestType(u32);
    /// Reads.
    QUERY_INFORMATION = 0, "NdisRequestQueryInformation";
    /// Writes.
    SET_INFORMATION = 1, "NdisRequestSetInformation";
    /// Reads statistics.
    QUERY_STATISTICS = 2, "NdisRequestQueryStatistics";
    /// Writes and reads.
    METHOD = 12, "NdisRequestMethod";
}
